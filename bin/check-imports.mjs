#!/usr/bin/env node
// Keeps "who may import whom": the layers of src/, workflows/, reports/ and migrations/, on their import statements.
// `node bin/check-imports.mjs [folder]` prints what breaks them and exits 1.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const DOMAINS = ['auth', 'consent', 'approvals', 'privacy', 'anomaly']
/** How the world reaches the domains. */
const EDGES = [...DOMAINS, 'schedules', 'keyring', 'reports', 'ledger', 'blobs']

/**
 * For each part of the code, the parts that it may import beside itself. A part is a folder of `src/`, a file of `src/`
 * (by its name), or a folder beside it. `x (types)` allows whole-line `import type` only; `x (nouns)` the pure files of
 * a domain, which are all but its commands and queries (files or folders of these names) and what they share, `governed`;
 * a path names one file.
 */
const MAY_IMPORT = {
  'src/errors': [],
  'src/config': [],
  'src/principal': [],
  'src/version': [],
  'src/log': ['src/errors'],
  'src/registry': DOMAINS.map((domain) => `${domain} (nouns)`),
  'src/main': ['*'],
  'src/worker': ['*'],
  cli: [
    ...EDGES,
    'src/registry',
    'sinks',
    'sources',
    'db',
    'embedded',
    'followers',
    'temporal',
    'dispatcher',
    'workflows/messages',
  ],
  http: [...EDGES, 'sinks', 'console', 'db (types)', 'followers (types)', 'temporal (types)'],
  sources: [...EDGES, 'db (types)'],
  console: [],
  activities: [...EDGES, 'sinks', 'db (types)', 'workflows/messages'],
  dispatcher: ['ledger', 'temporal', 'db', 'workflows/messages', 'approvals (types)'],
  followers: ['ledger', 'db'],
  sinks: ['ledger', 'keyring', 'approvals', 'db'],
  workflows: [...DOMAINS.map((domain) => `${domain} (nouns)`), 'activities (types)'],
  reports: ['ledger', 'keyring', 'db', 'approvals (nouns)'],
  temporal: ['ledger', 'keyring', 'db'],
  ...Object.fromEntries(DOMAINS.map((domain) => [domain, below(domain)])),
  // Who may do what is decided under the same lock, and from the same fold, as changes are.
  auth: [...below('auth'), 'src/approvals/governed'],
  schedules: [
    'ledger',
    'db',
    'temporal',
    'reports/zone',
    'workflows/messages',
    'src/approvals/governed',
    ...DOMAINS.map((domain) => `${domain} (nouns)`),
  ],
  keyring: ['ledger', 'db'],
  ledger: ['db'],
  blobs: [],
  db: [],
  embedded: [],
  migrations: [],
}

/** What lies below a domain, and what of the others it may see. */
function below(domain) {
  return ['ledger', 'keyring', 'db', ...DOMAINS.filter((other) => other !== domain).map((other) => `${other} (nouns)`)]
}

/** What everything in src/, workflows/ and reports/ may import. */
const COMMON = ['src/errors', 'src/config', 'src/log', 'src/principal', 'src/version']
/** The two processes, and the only ones who may start them. */
const PROCESSES = { 'src/main': ['src/cli/up', 'src/cli/serve'], 'src/worker': ['src/cli/up', 'src/cli/worker'] }

const root = resolve(process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url))))
const files = ['src', 'workflows', 'reports', 'migrations'].flatMap(sources)
const findings = files.flatMap(check)
for (const finding of findings) process.stdout.write(`${finding}\n`)
process.stdout.write(`Import rules: ${files.length} files, ${findings.length} findings\n`)
process.exit(findings.length === 0 ? 0 : 1)

function sources(folder) {
  const path = join(root, folder)
  if (!existsSync(path)) return []
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file).split(sep).join('/'))
    .sort()
}

function check(file) {
  const text = readFileSync(join(root, file), 'utf8')
  const found = importsOf(text).flatMap(({ specifier, typeOnly, line }) => {
    const problem = specifier.startsWith('.') ? judge(file, specifier, typeOnly) : undefined
    return problem === undefined ? [] : [`${file}:${line}: ${problem}`]
  })
  if (/(^|\/)index\.ts$/.test(file) && file.startsWith('src/'))
    found.push(`${file}: no barrels: import the file that holds the thing`)
  const env = text.split('\n').findIndex((line) => /\bprocess\.env\b/.test(line) && !/^\s*(\/\/|\*|\/\*)/.test(line))
  if (env >= 0 && file.startsWith('src/') && file !== 'src/config.ts') {
    found.push(`${file}:${env + 1}: only src/config.ts reads process.env`)
  }
  return found
}

/** @returns why `file` may not import `specifier`, or undefined */
function judge(file, specifier, typeOnly) {
  const from = file.replace(/\.ts$/, '')
  const to = posix.join(posix.dirname(file), specifier).replace(/\.js$/, '')
  if (to.startsWith('../')) return `${specifier} lies outside the repository`
  if (/^(test|bench|bin|dist)\//.test(to)) return `${to} is not part of what ships`
  const [here, there] = [partOf(from), partOf(to)]
  if (there in PROCESSES) {
    return PROCESSES[there].includes(from) ? undefined : `only ${PROCESSES[there].join(' and ')} may import ${to}`
  }
  if (here === there && here !== 'migrations') return undefined
  const allowed = MAY_IMPORT[here]
  if (allowed === undefined) return `${here} has no rule: say in bin/check-imports.mjs what it may import`
  if (here !== 'migrations' && COMMON.includes(there)) return undefined
  if (allowed.includes('*') || allowed.includes(there) || allowed.includes(to)) return undefined
  if (typeOnly && allowed.includes(`${there} (types)`)) return undefined
  if (allowed.includes(`${there} (nouns)`) && !/^src\/[a-z]+\/(commands|queries|governed)(\/|$)/.test(to))
    return undefined
  const hint = allowed.includes(`${there} (types)`) ? ' (but a whole-line `import type` is fine)' : ''
  return `${here} may not import ${to}${hint}`
}

function partOf(path) {
  const [top, second, ...rest] = path.split('/')
  if (top !== 'src') return top
  return rest.length === 0 ? `src/${second}` : second
}

/** Static and dynamic imports and re-exports, as prettier lays them out: statements begin at the start of a line. */
function importsOf(text) {
  const found = []
  const add = (match, specifier, clause) =>
    found.push({
      specifier,
      typeOnly: /^type\s/.test(clause.trim()),
      line: text.slice(0, match.index).split('\n').length,
    })
  for (const match of text.matchAll(/^(?:import|export)\s([^'"`;=()]*?)\bfrom\s+['"]([^'"]+)['"]/gm)) {
    add(match, match[2], match[1])
  }
  for (const match of text.matchAll(/^import\s+['"]([^'"]+)['"]/gm)) add(match, match[1], '')
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)) add(match, match[1], '')
  return found
}
