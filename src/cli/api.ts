import { readFile, stat } from 'node:fs/promises'
import { readConfig } from '../config.js'
import { readRunFile } from '../embedded/home.js'
import { DomainError, messageOf } from '../errors.js'
import { usageError } from './cli.js'

/** For commands that people run as themselves: the API knows them by their token. */
export const TOKEN_FILE = ['--token-file <path>', 'act with the token in this file; else COUNTERSIGN_TOKEN'] as const
export const API = ['--api <address>', 'where the API answers; else the one that runs here'] as const

export interface ApiOptions {
  tokenFile?: string
  api?: string
}

/** The API, as somebody with a token sees it. */
export interface Api {
  /** @throws DomainError with the code of the problem that was answered, API_UNREACHABLE */
  call<T>(method: 'GET' | 'POST', path: string, body?: object): Promise<T>
}

/**
 * The API and the token that a command is to use; undefined where no token was given.
 * @throws DomainError FILE_UNREADABLE, USAGE
 */
export async function apiOf({ tokenFile, api }: ApiOptions): Promise<Api | undefined> {
  const config = readConfig()
  const token = tokenFile === undefined ? config.token : await readToken(tokenFile)
  if (token === undefined) return undefined
  if (!/^cs_[a-z][a-z0-9-]{1,62}\.[A-Za-z0-9_-]{43}$/.test(token)) {
    throw usageError('that is no token: it begins with cs_ and the tenant, as token create showed it')
  }
  const { home, publicUrl, httpHost, httpPort } = config
  const local = `http://${httpHost.includes(':') ? `[${httpHost}]` : httpHost}:${httpPort}`
  const base = api ?? readRunFile(home)?.apiUrl ?? publicUrl ?? local
  if (!URL.canParse(base)) throw usageError(`${JSON.stringify(base)} is no address: write http://… or https://…`)
  return { call: (method, path, body) => call(base.replace(/\/+$/, ''), token, { method, path, body }) }
}

async function readToken(path: string): Promise<string> {
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) !== 0) throw usageError(`others may read ${path}: run chmod 600 on it`)
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (error instanceof DomainError) throw error
    throw new DomainError('FILE_UNREADABLE', `${path} cannot be read: ${messageOf(error)}`)
  }
}

const ANSWERS_MS = 30_000

async function call<T>(
  base: string,
  token: string,
  { method, path, body }: { method: string; path: string; body: object | undefined },
): Promise<T> {
  let response: Response
  try {
    response = await fetch(`${base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ANSWERS_MS),
      redirect: 'error',
    })
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error)
    throw new DomainError('API_UNREACHABLE', `nothing answers at ${base} (${cause}): start it, or name it with --api`)
  }
  const text = await response.text()
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T
  throw problemIn(text, response.status, base)
}

function problemIn(text: string, status: number, base: string): DomainError {
  let problem: { code?: unknown; detail?: unknown; pointer?: unknown } = {}
  try {
    problem = JSON.parse(text) as typeof problem
  } catch {
    // Whatever stands in front of the API may answer in its own way.
  }
  const { code, detail, pointer } = problem
  if (typeof code !== 'string' || typeof detail !== 'string') {
    return new DomainError('API_UNREACHABLE', `what answers at ${base} is not Countersign: status ${status}`)
  }
  return new DomainError(code, detail, typeof pointer === 'string' ? { pointer } : {})
}
