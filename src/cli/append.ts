import { readFile } from 'node:fs/promises'
import { InvalidArgumentError } from 'commander'
import { DomainError, messageOf } from '../errors.js'
import { ingest } from '../keyring/ingest.js'
import { MAX_BATCH_EVENTS } from '../ledger/appender.js'
import { checkEvent, type EventInput } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { host as hostPrincipal } from '../principal.js'
import { leaf, usageError, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'

interface AppendOptions {
  tenant?: string
  file?: string
  idempotencyKey?: string
}

export function appendCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'append [event]',
    what: 'append an event, or a JSON array of them: all or none',
    more: `The event is given as an argument, in a file, or on standard input. People are named by {kind, value} or by
pseudonym; what is personal goes under "personal" and is sealed. The answer comes once it is durable.`,
    examples: [
      `append --tenant acme '{"type":"door.opened","actor":{"kind":"email","value":"ada@example.org"}}'`,
      'append --tenant acme --file event.json',
      `echo '{"type":"backup.finished","outcome":"success"}' | countersign append --tenant acme`,
    ],
    options: (command) =>
      command
        .option('-t, --tenant <id>', 'the tenant; may be left out where there is only one')
        .option('-f, --file <path>', 'read the event from a file; - is standard input')
        .option('--idempotency-key <key>', 'a repeat with the same key appends nothing and gets the first answer', key),
    run: append,
  })
}

function key(text: string): string {
  if (/^[\x21-\x7e]{1,255}$/.test(text)) return text
  throw new InvalidArgumentError('It must be 1 to 255 visible ASCII characters.')
}

async function append(cli: Cli, options: AppendOptions, word?: string): Promise<void> {
  const body = await readBody(word, options.file)
  const { events, batch } = readEvents(body, word === undefined ? options.file : undefined)
  await withHost(
    cli,
    async (host) => {
      const tenant = await tenantOf(host, options.tenant)
      const { idempotencyKey } = options
      const { entries, repeated } = await ingest(
        host.deps,
        hostPrincipal(tenant),
        events,
        idempotencyKey === undefined ? {} : { idempotency: { key: idempotencyKey, body } },
      ).catch((error: unknown) => {
        throw inInput(error, batch)
      })
      cli.result({ tenant, repeated, entries }, () => {
        const lines = entries.map(
          ({ seq, at, chainHash, actor }) => `${seq}  ${at}  ${chainHash}${actor === undefined ? '' : `  by ${actor}`}`,
        )
        return `${repeated ? 'appended before, this is the first answer:\n' : ''}${lines.join('\n')}\n`
      })
    },
    { graceful: true },
  )
}

async function readBody(word: string | undefined, file: string | undefined): Promise<Buffer> {
  if (word !== undefined && file !== undefined)
    throw usageError('give the event as an argument or with --file, not both')
  if (word !== undefined && word !== '-') return Buffer.from(word)
  if (file === undefined || file === '-') {
    if (process.stdin.isTTY) throw usageError('no event: give it as an argument, with --file, or on standard input')
    const parts: Buffer[] = []
    for await (const part of process.stdin) parts.push(part as Buffer)
    return Buffer.concat(parts)
  }
  try {
    return await readFile(file)
  } catch (error) {
    throw new DomainError('FILE_UNREADABLE', `${file} cannot be read: ${messageOf(error)}`)
  }
}

/** An error that blames an event, with a pointer that begins at it, as a place in what was given. */
function inInput(error: unknown, batch: boolean): unknown {
  if (!(error instanceof DomainError) || error.index === undefined) return error
  const { code, message, index, pointer = '' } = error
  return new DomainError(code, message, batch ? { index, pointer: `/${index}${pointer}` } : { pointer })
}

/** @param file to name in errors */
function readEvents(body: Buffer, file: string | undefined): { events: EventInput[]; batch: boolean } {
  try {
    const value = parseStrict(body)
    if (!Array.isArray(value)) return { events: [checkEvent(value, '')], batch: false }
    if (value.length === 0 || value.length > MAX_BATCH_EVENTS) {
      throw usageError(`1 to ${MAX_BATCH_EVENTS} events can be appended at once, not ${value.length}`)
    }
    return { events: value.map((item, index) => checkEvent(item, `/${index}`)), batch: true }
  } catch (error) {
    if (!(error instanceof DomainError) || file === undefined || file === '-') throw error
    const at = error.pointer === undefined ? {} : { pointer: error.pointer }
    throw new DomainError(error.code, `${file}: ${error.message}`, at)
  }
}
