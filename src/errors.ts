/**
 * What a caller did wrong or met, told in the domain's words. It knows no HTTP and no exit codes: `code` is a contract
 * (listed in `docs/errors.md`), `message` is prose and may change. Whatever else is thrown is a bug or an outage.
 */
export class DomainError extends Error {
  override readonly name: string = 'DomainError'
  readonly code: string
  /** JSON pointer (RFC 6901) into what the caller sent, where one place is to blame. */
  readonly pointer: string | undefined
  /** 0-based index of the event in its batch, where one event is to blame. */
  readonly index: number | undefined
  /** Seconds after which trying again makes sense. */
  readonly retryAfterS: number | undefined

  constructor(code: string, message: string, at: { pointer?: string; index?: number; retryAfterS?: number } = {}) {
    super(message)
    this.code = code
    this.pointer = at.pointer
    this.index = at.index
    this.retryAfterS = at.retryAfterS
  }
}

/** @returns the system's code of an error (ENOENT, EADDRINUSE, …), or undefined when it has none */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** @returns what an error says, whatever was thrown */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
