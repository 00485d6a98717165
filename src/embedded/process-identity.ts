import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { systemCode } from '../errors.js'

/** A process, told apart from a later one that got the same number. */
export interface ProcessIdentity {
  pid: number
  /** When it started, in the system's own words; empty where the system does not say. */
  started: string
}

/** @returns the process `pid`, or undefined when there is none (one that has ended and was not reaped is none) */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  if (!exists(pid)) return undefined
  if (process.platform !== 'linux') {
    const ps = spawnSync('/bin/ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
    return { pid, started: ps.status === 0 ? ps.stdout.trim() : '' }
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in brackets, may hold spaces and brackets; the state is the first field behind it and the start the 20th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, started: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

/** @returns true while the very process that was described still runs */
export function stillRuns(known: ProcessIdentity): boolean {
  const now = processIdentity(known.pid)
  return now !== undefined && (known.started === '' || now.started === '' || known.started === now.started)
}

function exists(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM' // somebody else's, but there
  }
}

/** @returns the process that a JSON text names by its members `pid` and `started`, or undefined when it names none */
export function parseIdentity(text: string): ProcessIdentity | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isIdentity(value) ? { pid: value.pid, started: value.started } : undefined
  } catch {
    return undefined
  }
}

function isIdentity(value: unknown): value is ProcessIdentity {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'started' in value &&
    typeof value.started === 'string'
  )
}
