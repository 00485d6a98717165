// Bundles the compiled workflows, and all that they reach, into the one file that Temporal's sandbox runs.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, resolve } from 'node:path'

/**
 * @param dist folder with the compiled `workflows/`
 * @returns the code of the bundle
 * @throws Error naming the module, when a workflow reaches what the sandbox does not have
 */
export async function bundleWorkflows(dist) {
  // Loaded here: a build that changed no workflow need not wait for the bundler.
  const { bundleWorkflowCode } = await import('@temporalio/worker')
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, log() {}, error() {} }
  const said = []
  // The bundler lets a few built-ins pass, for which the sandbox has stand-ins.
  for (const [file, text] of reached(dist)) {
    for (const specifier of importsOf(text)) {
      if (isBuiltin(specifier)) throw new Error(`${file} imports ${specifier}: a workflow has no Node built-in`)
    }
  }
  try {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(dist, 'workflows', 'index.js'),
      failureConverterPath: join(dist, 'workflows', 'failure-converter.js'),
      logger: { ...quiet, error: (message) => said.push(message) },
    })
    return code
  } catch (error) {
    throw new Error([...said, error.message].join('\n'), { cause: error })
  }
}

/** Writes `workflow-bundle.js`, unless what is there was made from the same files. */
export async function writeBundle(dist) {
  const bundle = join(dist, 'workflow-bundle.js')
  const stamp = join(dist, '.workflow-bundle-of')
  const fingerprint = fingerprintOf(dist)
  if (existsSync(bundle) && existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint) return
  rmSync(stamp, { force: true })
  writeFileSync(bundle, await bundleWorkflows(dist))
  writeFileSync(stamp, fingerprint)
}

/** A digest of what the workflows reach, of the SDK's version and of this script. */
function fingerprintOf(dist) {
  const hash = createHash('sha256')
  for (const [file, text] of reached(dist)) hash.update(`${file.slice(dist.length)}\0${text}\0`)
  const root = dirname(dist)
  hash.update(readFileSync(join(root, 'node_modules/@temporalio/workflow/package.json')))
  hash.update(readFileSync(join(root, 'bin/bundle-workflows.mjs')))
  return hash.digest('hex')
}

/** @returns every compiled file of ours that the workflows reach, and its text */
function reached(dist) {
  const files = new Map()
  const visit = (file) => {
    if (files.has(file) || !existsSync(file)) return
    files.set(file, readFileSync(file, 'utf8'))
    for (const specifier of importsOf(files.get(file))) {
      if (specifier.startsWith('.')) visit(resolve(dirname(file), specifier))
    }
  }
  visit(join(dist, 'workflows', 'index.js'))
  visit(join(dist, 'workflows', 'failure-converter.js'))
  return files
}

/** Static imports and re-exports, as the compiler writes them: statements at the start of a line. */
function importsOf(text) {
  const from = /^(?:import|export)\s[^'"`;=()]*?\bfrom\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]/gm
  return [...text.matchAll(from)].map(([, named, bare]) => named ?? bare)
}
