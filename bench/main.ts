import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { appendMeasures } from './append.js'
import { dispatchMeasures } from './dispatch.js'
import { emmettMeasures } from './emmett.js'
import { judge, type Measure, type Result } from './harness.js'
import { httpMeasures } from './http.js'
import { openStore, type Store } from './store.js'
import { measureWhileSmall, verifyAll, verifyMeasures } from './verify.js'

const HELP = `npm run bench -- [--quick] [--only id,id] [--json FILE]

Measures this build beside what the machine and a peer do, in one run, alternating. Ratios travel between machines;
the figures beside them do not.

  --quick       a short form, about three minutes: three rounds of smaller samples
  --only IDS    some of it, by id, separated by commas
  --json FILE   writes the results
  --list        prints the ids`

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    json: { type: 'string' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

/** In the order of the table: what fills the log most comes late. */
function measuresOf(store: Store): Measure[] {
  const [verification = [], memoryAndGrowth = []] = halves(verifyMeasures(store))
  return [
    ...appendMeasures(store),
    ...verification,
    ...dispatchMeasures(store),
    ...httpMeasures(store),
    ...emmettMeasures(store),
    ...memoryAndGrowth,
  ]
}

function halves<T>([first, ...rest]: readonly T[]): T[][] {
  return first === undefined ? [] : [[first], rest]
}

if (options.help) console.log(HELP)
else await run()

async function run(): Promise<void> {
  const store = await openStore((line) => console.error(line))
  try {
    const all = measuresOf(store)
    if (options.list) {
      for (const { id, what } of all) console.log(`${id.padEnd(16)} ${what}`)
      return
    }
    const wanted = options.only?.split(',')
    const unknown = wanted?.find((id) => !all.some((measure) => measure.id === id))
    if (unknown !== undefined) throw new Error(`there is no measure ${unknown}; --list prints them`)
    const results: Result[] = []
    const context = { quick: options.quick, rounds: options.quick ? 3 : 5 }
    if (wanted?.includes('growth') ?? true) await measureWhileSmall(store, context)
    for (const measure of all.filter(({ id }) => wanted?.includes(id) ?? true)) {
      const missing = await measure.missing?.()
      if (missing !== undefined) {
        console.log(`${measure.id.padEnd(15)} not measured: ${missing}`)
        continue
      }
      const rounds = await measure.run(context)
      const result = judge(measure, rounds)
      results.push(result)
      console.log(line(measure, result))
    }
    console.log(`\nThe whole chain verifies: ${(await verifyAll(store)).toLocaleString('en')} entries.`)
    report(store, results)
  } finally {
    await store.close()
  }
}

function line(measure: Measure, result: Result): string {
  const figures = `${format(result.ours)} ${measure.unit}, against ${format(result.against)}`
  const verdict = { aim: 'reaches the aim', floor: 'above the floor', no: 'BELOW THE FLOOR' }[result.met]
  return [
    `${result.id.padEnd(15)} ${result.ratio.toFixed(2).padStart(7)}  floor ${result.floor}, aim ${result.aim}: ${verdict}`,
    `${' '.repeat(25)}${result.what}: ${figures} (${measure.against})`,
    ...(result.remark === undefined ? [] : [`${' '.repeat(25)}${result.remark}`]),
  ].join('\n')
}

function format(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString('en')
}

function report(store: Store, results: readonly Result[]): void {
  const [cpu] = cpus()
  const document = {
    commit: commit(),
    machine: {
      cpu: cpu?.model ?? 'unknown',
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      reachedBy: store.reachedBy,
    },
    versions: { node: process.version, postgresql: store.version },
    quick: options.quick,
    measures: results,
  }
  console.log(
    `\nPostgreSQL ${store.version} over ${store.reachedBy}, ${document.machine.cores} cores (${document.machine.cpu})`,
  )
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(document, null, 2)}\n`)
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}
