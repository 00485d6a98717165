import autocannon from 'autocannon'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { eventOf } from './events.js'
import { alternate, median, type Measure } from './harness.js'
import { TENANTS, type Store } from './store.js'

interface Api {
  readonly port: number
  readonly tokens: readonly string[]
  close(): Promise<void>
}

async function startApi(store: Store): Promise<Api> {
  const child = fork(fileURLToPath(new URL('./http-server.js', import.meta.url)), [store.url, store.keyFile])
  const exit = once(child, 'exit')
  const [message] = (await Promise.race([
    once(child, 'message'),
    exit.then(() => Promise.reject(new Error('the API did not start'))),
  ])) as [{ port: number; tokens: string[] }]
  return {
    ...message,
    async close() {
      child.disconnect()
      await exit
    },
  }
}

interface Load {
  readonly path: string
  readonly connections: number
  readonly seconds: number
  readonly contentType: string
  readonly events: number
  readonly body: (n: number) => string
}

/** @returns events a second; every answer must be a 201 */
async function load({ port, tokens }: Api, { path, connections, seconds, contentType, events, body }: Load) {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}`,
    connections,
    duration: seconds,
    requests: Array.from({ length: TENANTS }, (_, n) => ({
      method: 'POST' as const,
      path,
      headers: { 'content-type': contentType, authorization: `Bearer ${tokens[n] ?? ''}` },
      body: body(n),
    })),
  })
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${path}: ${result.non2xx} answers were no 201, ${result.errors} requests failed`)
  }
  return { perSecond: (result['2xx'] * events) / result.duration, p99: result.latency.p99 }
}

export function httpMeasures(store: Store): Measure[] {
  return [
    {
      id: 'http-single',
      what: 'HTTP single events, 64 connections, 100 tenants',
      against: 'the same route without the store: same credential check, gate and limits',
      unit: 'events/s',
      floor: 0.5,
      aim: 0.65,
      run: async ({ rounds, quick }) => {
        const api = await startApi(store)
        const p99: number[] = []
        const shape = { connections: 64, seconds: quick ? 2 : 4, contentType: 'application/json', events: 1 }
        const body = (n: number) => JSON.stringify(eventOf(n))
        const results = await alternate(rounds, {
          ours: async () => {
            await store.settle()
            const sample = await load(api, { ...shape, path: '/v1/events', body })
            p99.push(sample.p99)
            return sample.perSecond
          },
          against: async () => (await load(api, { ...shape, path: '/bench/events', body })).perSecond,
        })
        await api.close()
        return { rounds: results, remark: `p99 ${median(p99).toFixed(0)} ms` }
      },
    },
    {
      id: 'http-batch',
      what: 'HTTP batches of 100, JSON array and NDJSON in turn, 16 connections',
      against: 'the same route without the store',
      unit: 'events/s',
      floor: 0.15,
      aim: 0.25,
      run: async ({ rounds, quick }) => {
        const api = await startApi(store)
        const events = (n: number) => Array.from({ length: 100 }, (_, k) => JSON.stringify(eventOf(n * 100 + k)))
        const shapes = [
          { contentType: 'application/json', body: (n: number) => `[${events(n).join(',')}]` },
          { contentType: 'application/x-ndjson', body: (n: number) => events(n).join('\n') },
        ]
        const sample = async (path: string) => {
          const rates: number[] = []
          for (const shape of shapes) {
            const seconds = quick ? 1 : 3
            rates.push((await load(api, { ...shape, path, seconds, connections: 16, events: 100 })).perSecond)
          }
          return rates.reduce((sum, perSecond) => sum + perSecond, 0) / rates.length
        }
        const results = await alternate(rounds, {
          ours: async () => {
            await store.settle()
            return sample('/v1/events')
          },
          against: () => sample('/bench/events'),
        })
        await api.close()
        return { rounds: results }
      },
    },
  ]
}
