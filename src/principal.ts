/** Who is acting, in one tenant, and with which credential. */
export interface Principal {
  readonly tenant: string
  /** `person:<ULID>` or `service:<name>`. */
  readonly id: string
  /** `token:<ULID>`, `session:<ULID>` or `host`. */
  readonly via: string
  /** `area/resource:verb`; `*` stands for a whole segment. */
  readonly permissions: readonly string[]
}

/** The operator on the host, through the command line: nobody else can be this principal. */
export function host(tenant: string): Principal {
  return { tenant, id: HOST, via: 'host', permissions: ['*/*:*'] }
}

/** The service itself, which does what was decided or scheduled: nobody else can be this principal. */
export function service(tenant: string): Principal {
  return { tenant, id: SERVICE, via: 'host', permissions: [] }
}

export const HOST = 'service:host'
export const SERVICE = 'service:countersign'

/** The tenant that holds the operator's own log. */
export const SYSTEM_TENANT = 'system'
