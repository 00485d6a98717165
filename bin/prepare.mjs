// What every command of a checkout needs first: dependencies as the lock file wants them, and a build of these sources.
// Uses nothing but Node, since it runs before anything is installed.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

const lockFile = join(root, 'package-lock.json')
const installStamp = join(root, 'node_modules', '.countersign-installed')
const buildStamp = join(root, 'dist', '.countersign-built')

/** What the build is made from; `bin/build.mjs` compiles all of it. */
const SOURCES = ['src', 'workflows', 'migrations', 'reports', 'test', 'bench', 'tsconfig.json', 'package-lock.json']

/** Installs and builds what is out of date. An installed package carries its build and no sources: nothing to do. */
export async function prepare() {
  if (!existsSync(lockFile) || !existsSync(join(root, 'src')) || (isInstalled() && isBuilt())) return
  const release = await alone()
  try {
    if (!isInstalled()) {
      await step('Installing dependencies (npm ci)', ...npm(['ci', '--include=dev', '--no-audit', '--no-fund']))
      writeFileSync(installStamp, lockHash())
    }
    if (!isBuilt()) await step('Building', process.execPath, [join(root, 'bin', 'build.mjs')])
  } finally {
    release()
  }
}

/** Records that `dist` holds the build of sources whose fingerprint was taken before they were read. */
export function recordBuild(fingerprint) {
  mkdirSync(dirname(buildStamp), { recursive: true })
  writeFileSync(buildStamp, fingerprint)
}

/** @returns a digest of names, sizes and times of all sources */
export function sourceFingerprint() {
  const hash = createHash('sha256')
  for (const source of SOURCES) {
    const top = join(root, source)
    if (!existsSync(top)) continue
    const files = statSync(top).isDirectory() ? readdirSync(top, { recursive: true, encoding: 'utf8' }).sort() : ['']
    for (const file of files) {
      const { size, mtimeMs, isDirectory } = describe(join(top, file))
      if (!isDirectory) hash.update(`${join(source, file)}\0${size}\0${mtimeMs}\n`)
    }
  }
  return hash.digest('hex')
}

/** Runs a command to its end with our own terminal. @returns its exit code, 128 + n after signal n as shells have it */
export function run(command, words, env = process.env) {
  return new Promise((done) => {
    const child = spawn(command, words, { cwd: root, stdio: 'inherit', env })
    // A Ctrl-C reaches the child too: it ends in its own time, and we with it.
    const ignore = () => {}
    process.on('SIGINT', ignore)
    const pass = () => child.kill('SIGTERM')
    process.on('SIGTERM', pass)
    child.once('error', (error) => {
      process.stderr.write(`${command}: ${error.message}\n`)
      done(3)
    })
    child.once('exit', (code, signal) => {
      process.off('SIGINT', ignore)
      process.off('SIGTERM', pass)
      done(code ?? 128 + (signal === 'SIGINT' ? 2 : 15))
    })
  })
}

/** One at a time: two installations would take away each other's files. @returns how to let the next one */
async function alone() {
  const path = join(root, '.countersign-preparing')
  let told = false
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' })
      const release = () => rmSync(path, { force: true })
      process.once('exit', release)
      return () => {
        process.off('exit', release)
        release()
      }
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const holder = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0
    if (holder > 0 && !runs(holder)) rmSync(path, { force: true })
    else if (!told) process.stderr.write(`Waiting for process ${holder}, which is installing or building …\n`)
    told = true
    await new Promise((done) => setTimeout(done, 100))
  }
}

function runs(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function isInstalled() {
  if (!existsSync(join(root, 'node_modules'))) return false
  if (existsSync(installStamp) && readFileSync(installStamp, 'utf8') === lockHash()) return true
  if (!agreesWithLock()) return false
  try {
    writeFileSync(installStamp, lockHash()) // somebody ran npm ci by hand
  } catch {
    // Not ours to write: then it is looked at again the next time.
  }
  return true
}

/** npm notes in node_modules what it has put there: does that cover what the lock file asks of this platform? */
function agreesWithLock() {
  const noted = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(noted)) return false
  const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages
  const present = JSON.parse(readFileSync(noted, 'utf8')).packages
  return Object.entries(wanted).every(([path, { version, integrity, optional, os, cpu, libc }]) => {
    const found = present[path]
    if (path === '' || (found?.version === version && found?.integrity === integrity)) return true
    const fits = (os?.includes(process.platform) ?? true) && (cpu?.includes(process.arch) ?? true)
    // An optional package that names no platform came with one that did, and was left out with it.
    return found === undefined && (!fits || libc !== undefined || (optional === true && os === undefined))
  })
}

function isBuilt() {
  return existsSync(buildStamp) && readFileSync(buildStamp, 'utf8') === sourceFingerprint()
}

function describe(path) {
  const stat = statSync(path, { throwIfNoEntry: false })
  return { size: stat?.size ?? 0, mtimeMs: stat?.mtimeMs ?? 0, isDirectory: stat?.isDirectory() ?? false }
}

function lockHash() {
  return createHash('sha256').update(readFileSync(lockFile)).digest('hex')
}

/** npm says where it is to what it runs; called by itself, Node finds it on the path. */
function npm(words) {
  const script = process.env.npm_execpath
  return script !== undefined && /npm-cli\.c?js$/.test(script) ? [process.execPath, [script, ...words]] : ['npm', words]
}

/** Runs one step quietly, with a line at its start, one every few seconds, and everything it said if it fails. */
async function step(what, command, words) {
  const began = Date.now()
  const seconds = () => Math.round((Date.now() - began) / 1000)
  process.stderr.write(`${what} …\n`)
  const timer = setInterval(() => process.stderr.write(`${what} … ${seconds()} s\n`), 5_000)
  const said = []
  const code = await new Promise((done) => {
    const child = spawn(command, words, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env: quiet() })
    child.stdout.on('data', (bytes) => said.push(bytes))
    child.stderr.on('data', (bytes) => said.push(bytes))
    child.once('error', (error) => {
      said.push(Buffer.from(`${command}: ${error.message}\n`))
      done(3)
    })
    child.once('close', (status, signal) => done(signal === null ? status : 3))
  })
  clearInterval(timer)
  if (code === 0) return
  process.stderr.write(Buffer.concat(said))
  process.stderr.write(`${what} failed after ${seconds()} s\n`)
  process.exit(3) // and lets the next one try, see alone()
}

/** The settings of an outer npm (`npm start --silent`, a production flag) are not meant for the one that we run. */
function quiet() {
  const { NODE_ENV: _, ...env } = process.env
  return { ...env, npm_config_loglevel: 'warn' }
}
