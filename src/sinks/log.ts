import type { Notification } from './notification.js'

/** Says notices in the service's own log, where an operator who has no webhook sees them: pseudonyms and ids, no more. */
export interface LogSink {
  notice(notification: Notification): void
}

/** @param write one line of the log: what is told, and a text */
export function logSink(write: (told: object, text: string) => void): LogSink {
  return {
    notice({ tenant, id, type, at, data }) {
      write({ notice: { tenant, id, type, at, data } }, 'a notice')
    },
  }
}
