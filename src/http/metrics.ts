import { collectDefaultMetrics, Gauge, Histogram, Registry, type GaugeConfiguration } from 'prom-client'
import type { Appender } from '../ledger/appender.js'
import type { App } from './server.js'

/** What `/metrics` tells. No label names a tenant, a person or an address as it was sent. */
export class Metrics {
  readonly registry = new Registry()
  private readonly requests: Histogram

  constructor(appender: Appender) {
    collectDefaultMetrics({ register: this.registry })
    this.requests = new Histogram({
      name: 'countersign_http_request_duration_seconds',
      help: 'Time from the headers of a request to the end of its answer',
      labelNames: ['route', 'status'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers: [],
    })
    this.registry.registerMetric(this.requests)
    this.gauge({
      name: 'countersign_appender_queued_events',
      help: 'Events that wait to be appended by this process',
      collect() {
        this.set(appender.queued.events)
      },
    })
    this.gauge({
      name: 'countersign_appender_queued_bytes',
      help: 'Bytes of the leaves that wait to be appended by this process',
      collect() {
        this.set(appender.queued.bytes)
      },
    })
  }

  /** How far followers are behind: asked of the database when somebody looks. */
  lag(consumers: () => Promise<readonly { consumer: string; entries: number; seconds: number }[]>): void {
    const asked = together(consumers)
    const labelNames = ['consumer']
    this.gauge({
      name: 'countersign_follower_lag_entries',
      help: 'Entries of all logs that a follower has yet to read',
      labelNames,
      async collect() {
        this.reset()
        for (const { consumer, entries } of await asked()) this.set({ consumer }, entries)
      },
    })
    this.gauge({
      name: 'countersign_follower_lag_seconds',
      help: 'Age of the oldest entry that a follower has yet to read',
      labelNames,
      async collect() {
        this.reset()
        for (const { consumer, seconds } of await asked()) this.set({ consumer }, seconds)
      },
    })
  }

  /** What the log has begun and not ended. */
  open(kinds: () => Promise<readonly { kind: string; count: number; oldestSeconds: number }[]>): void {
    const asked = together(kinds)
    const labelNames = ['kind']
    this.gauge({
      name: 'countersign_open_processes',
      help: 'Processes that the log has begun and not ended',
      labelNames,
      async collect() {
        this.reset()
        for (const { kind, count } of await asked()) this.set({ kind }, count)
      },
    })
    this.gauge({
      name: 'countersign_oldest_open_seconds',
      help: 'Age of the oldest process that has not ended',
      labelNames,
      async collect() {
        this.reset()
        for (const { kind, oldestSeconds } of await asked()) this.set({ kind }, oldestSeconds)
      },
    })
  }

  /** @param state as `/readyz` tells it */
  workflows(state: () => string): void {
    this.gauge({
      name: 'countersign_workflows_ready',
      help: '1 while a worker is connected to Temporal, else 0',
      collect() {
        this.set(state() === 'ready' ? 1 : 0)
      },
    })
  }

  private gauge(options: Omit<GaugeConfiguration<string>, 'registers'>): void {
    this.registry.registerMetric(new Gauge({ ...options, registers: [] }))
  }

  /** Times every request of the routes that are registered from now on. */
  observe(app: App): void {
    app.addHook('onResponse', (request, reply, done) => {
      this.requests.observe({ route: request.route || 'none', status: reply.statusCode }, reply.elapsedTime / 1000)
      done()
    })
  }
}

/** Gauges that are collected at the same time share one answer; none where the database has none. */
function together<T>(ask: () => Promise<readonly T[]>): () => Promise<readonly T[]> {
  let current: Promise<readonly T[]> | undefined
  return () =>
    (current ??= ask()
      .catch(() => [])
      .finally(() => {
        current = undefined
      }))
}
