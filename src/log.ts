import { messageOf } from './errors.js'

/** Where a process says what it meets: the API's logger is one. */
export interface Log {
  debug(about: object, message: string): void
  info(about: object, message: string): void
  warn(about: object, message: string): void
  error(about: object, message: string): void
}

const LEVELS = { debug: 20, info: 30, warn: 40, error: 50, silent: 100 } as const
export type LogThreshold = keyof typeof LEVELS

/** JSON lines in the form of the API's, for a process without one. */
export function jsonLog(least: LogThreshold, stream: { write(line: string): unknown }): Log {
  const at = (level: Exclude<LogThreshold, 'silent'>) => (about: object, message: string) => {
    if (LEVELS[level] < LEVELS[least]) return
    const line = { level: LEVELS[level], time: Date.now(), pid: process.pid, ...about, msg: message }
    stream.write(`${JSON.stringify(line, plain)}\n`)
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (!(value instanceof Error)) return value
  const { name, stack, cause } = value
  return {
    type: name,
    message: messageOf(value),
    ...(stack !== undefined && { stack }),
    ...(cause !== undefined && { cause }),
  }
}
