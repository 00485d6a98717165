import { Compile } from 'typebox/compile'
import type { TSchema } from 'typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { DomainError } from '../errors.js'
import { pointerTo } from '../ledger/pointer.js'

interface SchemaError {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: {
    readonly requiredProperties?: readonly string[]
    readonly additionalProperties?: readonly string[]
  }
}

/**
 * Holds requests against their schemas as they are: no member is dropped and no type coerced. Only parameters of query
 * and path, which have no types of their own, become the integers and booleans that their schema asks for.
 */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const compiled = Compile(schema)
  const typed = httpPart === 'querystring' || httpPart === 'params' ? typing(schema) : undefined
  return (value: unknown) => {
    const given = typed ? typed(value as Record<string, unknown>) : value
    const beyond = typed && Object.entries(given as Record<string, unknown>).find(([, each]) => isUnsafe(each))
    if (beyond) return { error: beyondSafeIntegers(beyond[0], httpPart) }
    if (compiled.Check(given)) return { value: given }
    return { error: refusal(compiled.Errors(given) as unknown as SchemaError[], httpPart) }
  }
}

const INTEGER = /^(?:0|[1-9]\d*)$/

/** An integer that was read as another one than was sent, or may have been. */
const isUnsafe = (value: unknown): boolean => typeof value === 'number' && !Number.isSafeInteger(value)

function beyondSafeIntegers(name: string, httpPart: string | undefined): DomainError {
  const message = `${WHERE[httpPart ?? '']}: ${name} lies beyond ${Number.MAX_SAFE_INTEGER}, the greatest number that is taken`
  return new DomainError('RANGE_INVALID', message, { pointer: pointerTo('', name) })
}

function typing(schema: TSchema): (value: Record<string, unknown>) => Record<string, unknown> {
  const { properties = {} } = schema as { properties?: Record<string, { type?: string }> }
  const typeOf = new Map(Object.entries(properties).map(([name, { type }]) => [name, type]))
  return (value) =>
    Object.fromEntries(
      Object.entries(value).map(([name, text]) => {
        const type = typeOf.get(name)
        if (type === 'integer' && typeof text === 'string' && INTEGER.test(text)) return [name, Number(text)]
        if (type === 'boolean' && (text === 'true' || text === 'false')) return [name, text === 'true']
        return [name, text]
      }),
    )
}

const WHERE: Readonly<Record<string, string>> = {
  body: 'in the body',
  querystring: 'in the query',
  params: 'in the path',
  headers: 'in the headers',
}

function refusal(errors: readonly SchemaError[], httpPart: string | undefined): DomainError {
  const where = WHERE[httpPart ?? 'body'] ?? ''
  const unknown = errors.find((error) => error.keyword === 'additionalProperties')
  const missing = errors.find((error) => error.keyword === 'required')
  const error = unknown ?? missing ?? errors.at(-1)
  if (!error) throw new Error('a refusal without a reason')
  const [name] = error.params.additionalProperties ?? error.params.requiredProperties ?? []
  const pointer = name === undefined ? error.instancePath : pointerTo(error.instancePath, name)
  const message = unknown
    ? `${where}: ${JSON.stringify(name)} is not known here`
    : missing
      ? `${where}: ${String(name)} is missing: add it`
      : `${where}: ${pointer === '' ? 'this' : pointer.slice(1)} ${error.message}`
  return new DomainError('REQUEST_INVALID', message, { pointer })
}
