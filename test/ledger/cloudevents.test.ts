import { describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { EVENT_SCHEMA, fromBatch, fromBinary, fromStructured, isBinaryMode } from '../../src/ledger/cloudevents.js'
import { checkEvent } from '../../src/ledger/event.js'

const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const minimal = { specversion: '1.0', id: 'A234', source: '/mycontext', type: 'com.Example.SomeEvent' }

function refusal(read: () => unknown): { code: string; pointer: string | undefined } {
  try {
    read()
  } catch (error) {
    if (error instanceof DomainError) return { code: error.code, pointer: error.pointer }
    throw error
  }
  throw new Error('it was taken')
}

describe('structured mode', () => {
  test('the least there can be', () => {
    expect(fromStructured(minimal)).toEqual({
      event: {
        type: 'com.Example.SomeEvent',
        id: 'A234',
        source: { name: '/mycontext' },
        data: { cloudevents: { specversion: '1.0' } },
      },
      key: { source: '/mycontext', id: 'A234' },
    })
  })

  test('every attribute has a place, and null is absent', () => {
    const { event } = fromStructured({
      ...minimal,
      time: '2018-04-05T17:31:00.5+02:00',
      subject: 'larger-context',
      dataschema: 'https://example.org/schema',
      datacontenttype: 'application/json; charset=utf-8',
      traceparent: trace,
      tracestate: 'a=b',
      comexampleextension1: 'value',
      comexampleothervalue: 5,
      flag: false,
      unset: null,
      data: { appinfoA: 'abc', n: [1, null] },
    })
    expect(event).toEqual({
      type: 'com.Example.SomeEvent',
      id: 'A234',
      occurredAt: '2018-04-05T17:31:00.5+02:00',
      trace,
      source: { name: '/mycontext' },
      data: {
        cloudevents: {
          specversion: '1.0',
          subject: 'larger-context',
          dataschema: 'https://example.org/schema',
          datacontenttype: 'application/json; charset=utf-8',
          tracestate: 'a=b',
          comexampleextension1: 'value',
          comexampleothervalue: 5,
          flag: false,
          data: { appinfoA: 'abc', n: [1, null] },
        },
      },
    })
    expect(checkEvent(event, '')).toBe(event)
  })

  test.each([null, 'text', 0, false, [], {}])('data may be %j', (data) => {
    expect(fromStructured({ ...minimal, data }).event.data).toEqual({ cloudevents: { specversion: '1.0', data } })
  })

  test('binary data stays base64', () => {
    const { event } = fromStructured({ ...minimal, datacontenttype: 'image/png', data_base64: 'AAECAw==' })
    expect(event.data).toEqual({
      cloudevents: { specversion: '1.0', datacontenttype: 'image/png', data_base64: 'AAECAw==' },
    })
  })

  test('a source too long for a name stays an attribute, and the key holds all of it', () => {
    const source = `https://example.org/${'x'.repeat(300)}`
    const { event, key } = fromStructured({ ...minimal, source })
    expect(event.source).toBeUndefined()
    expect(event.data).toEqual({ cloudevents: { specversion: '1.0', source } })
    expect(key.source).toBe(source)
  })

  test('what is no W3C traceparent stays an attribute', () => {
    const { event } = fromStructured({ ...minimal, traceparent: 'none' })
    expect(event.trace).toBeUndefined()
    expect(event.data).toEqual({ cloudevents: { specversion: '1.0', traceparent: 'none' } })
  })

  test.each([
    { value: [], code: 'CLOUDEVENT_INVALID', pointer: '' },
    { value: { ...minimal, specversion: '0.3' }, code: 'CLOUDEVENT_INVALID', pointer: '/specversion' },
    { value: { ...minimal, specversion: null }, code: 'CLOUDEVENT_INVALID', pointer: '/specversion' },
    { value: { ...minimal, id: '' }, code: 'CLOUDEVENT_INVALID', pointer: '/id' },
    { value: { ...minimal, id: 7 }, code: 'CLOUDEVENT_INVALID', pointer: '/id' },
    { value: { ...minimal, id: 'x'.repeat(256) }, code: 'EVENT_ID', pointer: '/id' },
    { value: { ...minimal, source: null }, code: 'CLOUDEVENT_INVALID', pointer: '/source' },
    { value: { ...minimal, type: 'nodot' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { value: { ...minimal, time: '2018-04-05T17:31:00' }, code: 'EVENT_TIME', pointer: '/time' },
    { value: { ...minimal, time: 5 }, code: 'CLOUDEVENT_INVALID', pointer: '/time' },
    { value: { ...minimal, subject: '' }, code: 'CLOUDEVENT_INVALID', pointer: '/subject' },
    { value: { ...minimal, dataschema: '/relative' }, code: 'CLOUDEVENT_INVALID', pointer: '/dataschema' },
    { value: { ...minimal, datacontenttype: 'json' }, code: 'CLOUDEVENT_INVALID', pointer: '/datacontenttype' },
    { value: { ...minimal, Upper: 'x' }, code: 'CLOUDEVENT_INVALID', pointer: '/Upper' },
    { value: { ...minimal, under_score: 'x' }, code: 'CLOUDEVENT_INVALID', pointer: '/under_score' },
    { value: JSON.parse('{"__proto__":{"a":1}}'), code: 'CLOUDEVENT_INVALID', pointer: '/__proto__' },
    { value: { ...minimal, ext: {} }, code: 'CLOUDEVENT_INVALID', pointer: '/ext' },
    { value: { ...minimal, ext: 1.5 }, code: 'CLOUDEVENT_INVALID', pointer: '/ext' },
    { value: { ...minimal, ext: 2 ** 31 }, code: 'CLOUDEVENT_INVALID', pointer: '/ext' },
    { value: { ...minimal, ext: 'a\nb' }, code: 'CLOUDEVENT_INVALID', pointer: '/ext' },
    { value: { ...minimal, data_base64: 'AA' }, code: 'CLOUDEVENT_INVALID', pointer: '/data_base64' },
    { value: { ...minimal, data: 1, data_base64: 'AAAA' }, code: 'CLOUDEVENT_INVALID', pointer: '/data_base64' },
  ])('refused: $value', ({ value, code, pointer }) => {
    expect(refusal(() => fromStructured(value, '/2'))).toEqual({ code, pointer: `/2${pointer}` })
  })
})

describe('batched mode', () => {
  test('one after the other', () => {
    expect(fromBatch([minimal, { ...minimal, id: 'B' }]).map(({ key }) => key.id)).toEqual(['A234', 'B'])
    expect(fromBatch([])).toEqual([])
  })

  test('errors name the event', () => {
    expect(refusal(() => fromBatch([minimal, { ...minimal, id: '' }]))).toEqual({
      code: 'CLOUDEVENT_INVALID',
      pointer: '/1/id',
    })
    expect(refusal(() => fromBatch(minimal))).toEqual({ code: 'CLOUDEVENT_INVALID', pointer: '' })
  })
})

describe('data with members of ours', () => {
  const ours = { ...minimal, dataschema: EVENT_SCHEMA, time: '2026-01-01T00:00:00Z' }
  const kept = { specversion: '1.0', dataschema: EVENT_SCHEMA }

  test('they stand beside what the attributes say', () => {
    const { event } = fromStructured({
      ...ours,
      data: {
        actor: { kind: 'email', value: 'ada@example.org' },
        targets: [{ id: 'invoice:1' }],
        personal: [{ group: 'actor', subject: { kind: 'email', value: 'ada@example.org' }, data: { name: 'Ada' } }],
        outcome: 'success',
        source: { delivery: 'at-least-once' },
        data: { amount: 4.5 },
      },
    })
    expect(event).toEqual({
      type: ours.type,
      id: 'A234',
      occurredAt: ours.time,
      source: { name: '/mycontext', delivery: 'at-least-once' },
      actor: { kind: 'email', value: 'ada@example.org' },
      targets: [{ id: 'invoice:1' }],
      personal: [{ group: 'actor', subject: { kind: 'email', value: 'ada@example.org' }, data: { name: 'Ada' } }],
      outcome: 'success',
      data: { amount: 4.5, cloudevents: kept },
    })
    expect(checkEvent(event, '')).toBe(event)
  })

  test('the same said twice is taken once', () => {
    const data = { type: ours.type, id: ours.id, occurredAt: ours.time, source: { name: ours.source } }
    expect(fromStructured({ ...ours, data }).event).toEqual({ ...data, data: { cloudevents: kept } })
  })

  test.each([
    { data: { type: 'other.type' }, code: 'CLOUDEVENT_INVALID', pointer: '/data/type' },
    { data: { id: 'other' }, code: 'CLOUDEVENT_INVALID', pointer: '/data/id' },
    { data: { occurredAt: '2026-01-01T00:00:01Z' }, code: 'CLOUDEVENT_INVALID', pointer: '/data/occurredAt' },
    { data: { trace }, traceparent: trace.replace('4b', '4c'), code: 'CLOUDEVENT_INVALID', pointer: '/data/trace' },
    { data: { source: { name: 'other' } }, code: 'CLOUDEVENT_INVALID', pointer: '/data/source/name' },
    { data: { data: { cloudevents: {} } }, code: 'CLOUDEVENT_INVALID', pointer: '/data/data/cloudevents' },
    { data: { type: null }, code: 'EVENT_MEMBER_TYPE', pointer: '/data/type' },
    { data: { sealed: [] }, code: 'EVENT_UNKNOWN_MEMBER', pointer: '/data/sealed' },
    { data: { outcome: 'ok' }, code: 'EVENT_MEMBER_VALUE', pointer: '/data/outcome' },
    { data: { data: {} }, code: 'EVENT_MEMBER_VALUE', pointer: '/data/data' },
    { data: 'text', code: 'CLOUDEVENT_INVALID', pointer: '/data' },
    { data: undefined, code: 'CLOUDEVENT_INVALID', pointer: '/data' },
  ])('refused: $data', ({ code, pointer, ...members }) => {
    expect(refusal(() => fromStructured({ ...ours, ...members }))).toEqual({ code, pointer })
  })
})

describe('binary mode', () => {
  const headers = {
    host: 'localhost',
    'ce-specversion': '1.0',
    'ce-id': 'A234',
    'ce-source': '/mycontext',
    'ce-type': 'com.Example.SomeEvent',
    'content-type': 'application/json',
  }
  const attributes = { specversion: '1.0', datacontenttype: 'application/json' }

  test('attributes from headers, data from a JSON body', () => {
    expect(isBinaryMode(headers)).toBe(true)
    expect(isBinaryMode({ host: 'localhost' })).toBe(false)
    const { event, key } = fromBinary(
      { ...headers, 'ce-time': '2026-01-01T00:00:00Z', 'ce-traceparent': trace },
      Buffer.from('{"a":[1]}'),
    )
    expect(event).toEqual({
      type: 'com.Example.SomeEvent',
      id: 'A234',
      occurredAt: '2026-01-01T00:00:00Z',
      trace,
      source: { name: '/mycontext' },
      data: { cloudevents: { ...attributes, data: { a: [1] } } },
    })
    expect(key).toEqual({ source: '/mycontext', id: 'A234' })
  })

  test.each(['application/vnd.x+json', 'text/json;charset=utf-8', 'application/JSON ; a=b'])('%s is JSON', (type) => {
    const { event } = fromBinary({ ...headers, 'content-type': type }, Buffer.from('"x"'))
    expect(event.data).toEqual({ cloudevents: { specversion: '1.0', datacontenttype: type, data: 'x' } })
  })

  test.each(['application/xml', 'application/jsonp', 'text/plain; a=/json'])('%s is kept as base64', (type) => {
    const { event } = fromBinary({ ...headers, 'content-type': type }, Buffer.from('<x/>'))
    expect(event.data).toEqual({ cloudevents: { specversion: '1.0', datacontenttype: type, data_base64: 'PHgvPg==' } })
  })

  test('no body, no data', () => {
    expect(fromBinary(headers, Buffer.alloc(0)).event.data).toEqual({ cloudevents: attributes })
  })

  test('data of ours through the gate', () => {
    const ours = { ...headers, 'ce-dataschema': EVENT_SCHEMA }
    expect(fromBinary(ours, Buffer.from('{"outcome":"denied"}')).event.outcome).toBe('denied')
    expect(refusal(() => fromBinary(ours, Buffer.from('{"outcome":"ok"}'))).pointer).toBe('/data/outcome')
  })

  test.each([
    { header: 'Euro%20%E2%82%AC%20%F0%9F%98%80', value: 'Euro € 😀' },
    { header: '%e2%82%ac%41', value: '€A' },
    { header: '"quoted \\"text\\" \\\\"', value: 'quoted "text" \\' },
    { header: '"%22"', value: '"' },
    { header: 'a"b', value: 'a"b' },
    { header: '5', value: '5' },
  ])('header value $header', ({ header, value }) => {
    const { event } = fromBinary({ ...headers, 'ce-ext': header }, Buffer.alloc(0))
    expect(event.data).toEqual({ cloudevents: { ...attributes, ext: value } })
  })

  test.each([
    { header: { 'ce-ext': '100%' }, pointer: '/ext' },
    { header: { 'ce-ext': '%C0%A0' }, pointer: '/ext' },
    { header: { 'ce-ext': '%00' }, pointer: '/ext' },
    { header: { 'ce-ext': 'é' }, pointer: '/ext' },
    { header: { 'ce-ext': ['a', 'b'] }, pointer: '/ext' },
    { header: { 'ce-under_score': 'x' }, pointer: '/under_score' },
    { header: { 'ce-': 'x' }, pointer: '/' },
    { header: { 'ce-data': 'x' }, pointer: '/data' },
    { header: { 'ce-datacontenttype': 'x/y' }, pointer: '/datacontenttype' },
    { header: { 'content-type': 'json' }, pointer: '/datacontenttype' },
    { header: { 'ce-id': undefined }, pointer: '/id' },
    { header: { 'ce-specversion': '1.1' }, pointer: '/specversion' },
  ])('refused: $header', ({ header, pointer }) => {
    expect(refusal(() => fromBinary({ ...headers, ...header }, Buffer.alloc(0)))).toEqual({
      code: 'CLOUDEVENT_INVALID',
      pointer,
    })
  })

  test('a bad body is refused by the gate', () => {
    expect(refusal(() => fromBinary(headers, Buffer.from('{"a":1,"a":2}')))).toEqual({
      code: 'JSON_DUPLICATE_KEY',
      pointer: '/data/a',
    })
  })
})
