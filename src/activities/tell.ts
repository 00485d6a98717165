import type { Json } from '../ledger/event.js'

/** What a recipient is told: never what only the log or a report may say. */
export interface Message {
  /** The same for every attempt at telling the same. */
  readonly id: string
  /** Of the entry that it is about. */
  readonly type: string
  readonly data: Readonly<Record<string, Json>>
}

/**
 * Tells one webhook of a tenant.
 * @throws DomainError where it was not delivered
 */
export type Tell = (tenant: string, webhook: string, message: Message) => Promise<void>

/** Where the files of a report are downloaded, by format: absolute where the public address is known. */
export function linksOf(
  publicUrl: string | undefined,
  report: string,
  formats: readonly string[],
): Record<string, string> {
  return Object.fromEntries(formats.map((format) => [format, `${publicUrl ?? ''}/v1/reports/${report}/${format}`]))
}
