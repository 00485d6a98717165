import { isIP } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, isAbsolute, join, resolve } from 'node:path'
import { DomainError } from './errors.js'

/** One setting: where it comes from, and what it may be. `docs/settings.md` lists them all, and a test keeps it so. */
export interface Setting<T> {
  readonly variable: string
  /** What holds without the variable, in words where it follows from another setting. */
  readonly standard: string
  /** What values are accepted, completing "must be …". */
  readonly accepts: string
  readonly what: string
  readonly fallback: T
  /** @returns undefined when the text is not acceptable */
  readonly read: (text: string) => T | undefined
}

const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
const KIB = 1024
const MIB = 1024 * KIB

export const settings = {
  home: text(
    'COUNTERSIGN_HOME',
    '.countersign',
    'a path',
    'folder of the embedded database, the key file, reports and the run file',
  ),
  databaseUrl: optional(
    'DATABASE_URL',
    'the embedded PostgreSQL',
    'an address postgres://…',
    'PostgreSQL 15 or newer to use, with the credentials of a role that may create roles; the embedded one is then not started',
    (value) => (/^postgres(ql)?:\/\/./.test(value) ? value : undefined),
  ),
  keyFile: optional(
    'COUNTERSIGN_KEY_FILE',
    '`keys.json` in the home folder',
    'a path',
    "the installation's keys (0600); without this file personal data cannot be read again",
    (value) => value,
  ),
  signingKeysDir: optional(
    'COUNTERSIGN_SIGNING_KEYS_DIR',
    '`signing-keys` in the home folder',
    'a path',
    'folder of the keys that grants and webhooks are signed with, a file (0600) for each tenant',
    (value) => value,
  ),
  reportsDir: optional(
    'COUNTERSIGN_REPORTS_DIR',
    '`reports` in the home folder',
    'a path',
    'folder of finished reports',
    (value) => value,
  ),
  temporalAddress: optional(
    'TEMPORAL_ADDRESS',
    'a local Temporal',
    'an address host:port',
    'Temporal to use, a cluster or Temporal Cloud; the local one is then not started. Access comes from the other `TEMPORAL_*` variables',
    (value) => (/^[^\s:/]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/.test(value) ? value : undefined),
  ),
  temporalNamespace: text('TEMPORAL_NAMESPACE', 'countersign', 'a name', 'namespace of our workflows in Temporal'),
  temporalCacheDir: optional(
    'COUNTERSIGN_TEMPORAL_CACHE',
    "`countersign/temporal` in the user's cache folder",
    'a path',
    'folder where a Temporal that was built or downloaded is kept for the next time',
    (value) => value,
  ),
  workflows: oneOf(
    'COUNTERSIGN_WORKFLOWS',
    'on',
    ['on', 'off'],
    'whether `up` also runs Temporal, the dispatcher and a worker; without them everything is taken, and what needs a workflow waits',
  ),
  verificationHour: integer(
    'COUNTERSIGN_VERIFICATION_HOUR',
    2,
    0,
    23,
    'hour of the day, in UTC, at which all logs are verified',
  ),
  httpHost: text('COUNTERSIGN_HTTP_HOST', '127.0.0.1', 'a name or address', 'address that the API listens on'),
  httpPort: integer('COUNTERSIGN_HTTP_PORT', 4700, 0, 65_535, 'port that the API listens on; 0 takes a free one'),
  publicUrl: optional(
    'COUNTERSIGN_PUBLIC_URL',
    'where the API listens',
    'an address http://… or https://…',
    'address under which callers reach the API, as it is printed in answers and in the API description',
    (value) => (/^https?:\/\/./.test(value) && URL.canParse(value) ? value.replace(/\/+$/, '') : undefined),
  ),
  logLevel: oneOf('COUNTERSIGN_LOG_LEVEL', 'info', logLevels, 'least severe level that is logged'),
  poolSize: integer('COUNTERSIGN_POOL_SIZE', 8, 1, 500, 'database connections per role and process, at most'),
  bodyLimitBytes: integer('COUNTERSIGN_BODY_LIMIT_BYTES', 8 * MIB, KIB, 256 * MIB, 'largest request body, in bytes'),
  headerLimitBytes: integer(
    'COUNTERSIGN_HEADER_LIMIT_BYTES',
    16 * KIB,
    4 * KIB,
    MIB,
    'largest total of request headers, in bytes',
  ),
  sealedLimitBytes: integer(
    'COUNTERSIGN_SEALED_LIMIT_BYTES',
    256 * KIB,
    KIB,
    16 * MIB,
    'largest sealed group, in bytes of its canonical form',
  ),
  rateLimitPerMinute: integer(
    'COUNTERSIGN_RATE_LIMIT_PER_MINUTE',
    6_000_000,
    1,
    1_000_000_000,
    'requests per minute and credential; more get 429',
  ),
  anonymousRateLimitPerMinute: integer(
    'COUNTERSIGN_ANONYMOUS_RATE_LIMIT_PER_MINUTE',
    6_000,
    1,
    1_000_000_000,
    'requests per minute and address without a valid credential; more get 429',
  ),
  trustedProxies: networks(
    'COUNTERSIGN_TRUSTED_PROXIES',
    'none',
    "proxies in front of the API, whose `X-Forwarded-For` is believed: limits per address then count the caller's, not the proxy's",
  ),
  webhookNetworks: networks(
    'COUNTERSIGN_WEBHOOK_NETWORKS',
    'none',
    'networks that webhooks may reach although they are not public, over plain HTTP and on any port too',
  ),
  webhookTimeoutMs: integer(
    'COUNTERSIGN_WEBHOOK_TIMEOUT_MS',
    15_000,
    100,
    60_000,
    'longest time for one delivery to a webhook, name service included, in milliseconds',
  ),
  queueLimitEvents: integer(
    'COUNTERSIGN_QUEUE_LIMIT_EVENTS',
    20_000,
    1,
    10_000_000,
    'events that may wait to be appended in one process; more get 503',
  ),
  appendTimeoutMs: integer(
    'COUNTERSIGN_APPEND_TIMEOUT_MS',
    15_000,
    100,
    600_000,
    'longest wait for a batch to be durable, in milliseconds; then callers get 503',
  ),
  requestTimeoutMs: integer(
    'COUNTERSIGN_REQUEST_TIMEOUT_MS',
    60_000,
    100,
    3_600_000,
    'longest time to receive a request, in milliseconds',
  ),
  waitLimitMs: integer(
    'COUNTERSIGN_WAIT_LIMIT_MS',
    10_000,
    0,
    600_000,
    'longest wait for the index to reach `?atLeast=SEQ`, in milliseconds',
  ),
  shutdownTimeoutMs: integer(
    'COUNTERSIGN_SHUTDOWN_TIMEOUT_MS',
    30_000,
    0,
    600_000,
    'longest time to answer what was accepted before ending, in milliseconds',
  ),
  token: optional(
    'COUNTERSIGN_TOKEN',
    'none',
    'a token cs_…',
    'token of the person for whom commands about changes call the API; `--token-file` does the same',
    (value) => value.trim(),
  ),
  fonts: paths(
    'COUNTERSIGN_FONTS',
    'none beyond the packaged one',
    'further TrueType fonts for PDF reports, tried in this order for characters that the packaged font lacks',
  ),
} as const

/** All settings, checked; paths are absolute. */
export type Config = ReturnType<typeof readConfig>

/**
 * Reads the settings. Nothing else reads the environment. An empty variable counts as absent.
 * @throws DomainError CONFIG_INVALID, naming the variable and what it accepts
 */
export function readConfig(env: Readonly<Record<string, string | undefined>> = process.env) {
  const get = <T>(setting: Setting<T>): T => {
    const text = env[setting.variable]
    if (text === undefined || text === '') return setting.fallback
    const value = setting.read(text)
    if (value !== undefined) return value
    // A password may be part of an address: what was given is not repeated.
    throw new DomainError('CONFIG_INVALID', `${setting.variable} must be ${setting.accepts}`)
  }
  const home = resolve(get(settings.home))
  return {
    home,
    databaseUrl: get(settings.databaseUrl),
    keyFile: resolve(get(settings.keyFile) ?? join(home, 'keys.json')),
    signingKeysDir: resolve(get(settings.signingKeysDir) ?? join(home, 'signing-keys')),
    reportsDir: resolve(get(settings.reportsDir) ?? join(home, 'reports')),
    temporalAddress: get(settings.temporalAddress),
    temporalNamespace: get(settings.temporalNamespace),
    temporalCacheDir: resolve(get(settings.temporalCacheDir) ?? join(cacheDir(env), 'countersign', 'temporal')),
    workflows: get(settings.workflows),
    verificationHour: get(settings.verificationHour),
    httpHost: get(settings.httpHost),
    httpPort: get(settings.httpPort),
    publicUrl: get(settings.publicUrl),
    logLevel: get(settings.logLevel),
    poolSize: get(settings.poolSize),
    bodyLimitBytes: get(settings.bodyLimitBytes),
    headerLimitBytes: get(settings.headerLimitBytes),
    sealedLimitBytes: get(settings.sealedLimitBytes),
    rateLimitPerMinute: get(settings.rateLimitPerMinute),
    anonymousRateLimitPerMinute: get(settings.anonymousRateLimitPerMinute),
    trustedProxies: get(settings.trustedProxies),
    webhookNetworks: get(settings.webhookNetworks),
    webhookTimeoutMs: get(settings.webhookTimeoutMs),
    queueLimitEvents: get(settings.queueLimitEvents),
    appendTimeoutMs: get(settings.appendTimeoutMs),
    requestTimeoutMs: get(settings.requestTimeoutMs),
    waitLimitMs: get(settings.waitLimitMs),
    shutdownTimeoutMs: get(settings.shutdownTimeoutMs),
    token: get(settings.token),
    fonts: get(settings.fonts),
  } as const
}

/** TEMPORAL_*, all of them: how to get into a Temporal is said as every tool of Temporal's reads it. */
export function temporalVariables(
  env: Readonly<Record<string, string | undefined>> = process.env,
): Readonly<Record<string, string>> {
  return passedOn(
    Object.keys(env).filter((name) => name.startsWith('TEMPORAL_') && env[name] !== ''),
    env,
  )
}

/** Where programs of this user keep what they can get again. */
function cacheDir({ XDG_CACHE_HOME, HOME, LOCALAPPDATA }: Readonly<Record<string, string | undefined>>): string {
  if (XDG_CACHE_HOME !== undefined && isAbsolute(XDG_CACHE_HOME)) return XDG_CACHE_HOME
  if (process.platform === 'win32' && LOCALAPPDATA) return LOCALAPPDATA
  return join(HOME || homedir(), '.cache')
}

/** Those of the named variables that are set: what a program that we start may see of the environment. */
export function passedOn(
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

/** The rows of the table in `docs/settings.md`: variable, default, what it is for. */
export function settingsTable(): string[] {
  return Object.values(settings).map(({ variable, standard, accepts, what }) =>
    ['', `\`${variable}\``, standard, accepts, what, ''].join(' | ').trim(),
  )
}

function text(variable: string, standard: string, accepts: string, what: string): Setting<string> {
  return { variable, standard: `\`${standard}\``, accepts, what, fallback: standard, read: (value) => value }
}

function optional<T>(
  variable: string,
  standard: string,
  accepts: string,
  what: string,
  read: (text: string) => T | undefined,
): Setting<T | undefined> {
  return { variable, standard, accepts, what, fallback: undefined, read }
}

function integer(variable: string, standard: number, least: number, most: number, what: string): Setting<number> {
  return {
    variable,
    standard: `\`${standard}\``,
    accepts: `a whole number from ${least} to ${most}`,
    what,
    fallback: standard,
    read: (value) => {
      const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
      return number >= least && number <= most ? number : undefined
    },
  }
}

function paths(variable: string, standard: string, what: string): Setting<readonly string[]> {
  const split = (value: string) => value.split(delimiter).filter((path) => path !== '')
  return {
    variable,
    standard,
    accepts: `paths separated by "${delimiter}"`,
    what,
    fallback: [],
    read: (value) => split(value).map((path) => resolve(path)),
  }
}

function networks(variable: string, standard: string, what: string): Setting<readonly string[]> {
  return {
    variable,
    standard,
    accepts: 'addresses or networks such as 10.0.0.0/8, separated by ","',
    what,
    fallback: [],
    read: (value) => {
      const each = value.split(',').map((text) => text.trim())
      return each.every(isNetwork) ? each : undefined
    },
  }
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || address.includes('%') || rest.length > 0) return false
  return bits === undefined || (/^(?:0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

function oneOf<T extends string>(variable: string, standard: T, values: readonly T[], what: string): Setting<T> {
  const accepts = `one of ${values.join(', ')}`
  return {
    variable,
    standard: `\`${standard}\``,
    accepts,
    what,
    fallback: standard,
    read: (value) => values.find((each) => each === value),
  }
}
