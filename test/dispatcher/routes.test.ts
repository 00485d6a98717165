import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { routedOf, routes, stepsOf, type Routes } from '../../src/dispatcher/routes.js'
import { leafPrefix } from '../../src/ledger/envelope.js'
import { tableRows } from '../support/markdown.js'
import { jobRoutes } from '../support/jobs.js'
import { root } from '../support/root.js'

function leaf(seq: number, type: string, stream?: string, data = ''): { seq: number; leaf: Buffer } {
  const place = {
    at: '2026-11-21T09:00:00.000Z',
    by: 'service:billing',
    log: '0f'.repeat(16),
    tenant: 'acme',
    via: 'host',
  }
  const prefix = leafPrefix({ ...place, seq, ...(stream !== undefined && { stream, version: 1 }) })
  return { seq, leaf: Buffer.from(`${prefix}{${data}"type":"${type}"}}`) }
}

const meaning = (table: Routes, ...entries: { seq: number; leaf: Buffer }[]) =>
  routedOf(table, { entries }).map(({ seq, route }) => [seq, route])

test('an entry means something by the place of its stream and by its type; without a stream, nothing', () => {
  const reported = leaf(1, 'job.requested', undefined, '"data":{"stream":"job/1"},')
  const entries = [
    leaf(0, 'job.requested', 'job/1'),
    reported,
    leaf(2, 'job.noted', 'job/1'),
    leaf(3, 'job.poked', 'job/1'),
    leaf(4, 'job.done', 'other/1'),
    leaf(5, 'job.done', 'job/1'),
    leaf(6, 'job.requested', 'jobs/1'),
    leaf(7, 'toString', 'constructor/1'),
  ]
  expect(meaning(jobRoutes, ...entries)).toEqual([
    [0, 'start'],
    [3, 'nudge'],
    [5, 'end'],
  ])
})

test('a type that a newer version has written nudges where there is somebody to nudge', () => {
  const unknown = [
    leaf(0, 'job.pondered', 'job/1'),
    leaf(1, 'token.pondered', 'token/1'),
    leaf(2, 'a.toString', 'job/1'),
  ]
  expect(meaning(jobRoutes, ...unknown)).toEqual([
    [0, 'nudge'],
    [2, 'nudge'],
  ])
  expect(meaning(routes, ...unknown)).toEqual([])
})

test('a slice asks once for each stream, in the order of their first entries', () => {
  const slice = [
    leaf(0, 'job.poked', 'job/b'),
    leaf(1, 'job.requested', 'job/a'),
    leaf(2, 'job.requested', 'job/c'),
    leaf(3, 'job.poked', 'job/a'),
    leaf(4, 'job.poked', 'job/b'),
    leaf(5, 'job.done', 'job/c'),
    leaf(6, 'dispatch.retried', 'dispatch/job/d'),
    leaf(7, 'dispatch.parked', 'dispatch/job/a'),
  ]
  const steps = stepsOf(jobRoutes, routedOf(jobRoutes, { entries: slice }))
  const short = steps.map(({ stream, seq, start, nudge, ended }) => ({ stream, seq, start, nudge, ended }))
  expect(short).toEqual([
    { stream: 'job/b', seq: 0, start: false, nudge: true, ended: false },
    { stream: 'job/a', seq: 1, start: true, nudge: true, ended: false },
    { stream: 'job/c', seq: 2, start: true, nudge: true, ended: true },
    { stream: 'job/d', seq: 6, start: false, nudge: true, ended: false },
  ])
})

test('the table has every type that the page of events lists for a stream, and no other', () => {
  const page = readFileSync(join(root, 'docs', 'events.md'), 'utf8')
  const documented = tableRows(page).flatMap(([types = '', , where = '']) => {
    const prefix = /command, `([a-z-]+\/)/.exec(where)?.[1]
    return prefix === undefined ? [] : [...types.matchAll(/`([^`]+)`/g)].map(([, type = '']) => `${prefix} ${type}`)
  })
  const known = Object.entries<Routes[string]>(routes).flatMap(([prefix, { types }]) =>
    Object.keys(types).map((type) => `${prefix} ${type}`),
  )
  expect(documented.filter((line) => !known.includes(line))).toEqual([])
})
