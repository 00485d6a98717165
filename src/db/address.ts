import { parse } from 'pg-connection-string'
import type { ClientConfig } from 'pg'
import { DomainError } from '../errors.js'

/** Where the database is, without anybody's credentials. */
export type Address = Pick<ClientConfig, 'host' | 'port' | 'ssl'> & { readonly database: string }

/** Splits a connection string into the place and the credentials it carries. */
export function parseDatabaseUrl(url: string): {
  address: Address
  user: string | undefined
  password: string | undefined
} {
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new DomainError('CONFIG_INVALID', 'DATABASE_URL must begin with postgres:// or postgresql://')
  }
  let parts
  try {
    parts = parse(url)
  } catch {
    throw new DomainError('CONFIG_INVALID', 'DATABASE_URL cannot be read as a connection string')
  }
  if (!parts.database) throw new DomainError('CONFIG_INVALID', 'DATABASE_URL names no database')
  const ssl = parts.ssl as ClientConfig['ssl'] | undefined
  return {
    address: {
      host: parts.host ?? 'localhost',
      port: Number(parts.port ?? 5432),
      database: parts.database,
      ...(ssl === undefined ? {} : { ssl }),
    },
    user: parts.user ?? undefined,
    password: parts.password ?? undefined,
  }
}
