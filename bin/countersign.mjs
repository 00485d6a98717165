#!/usr/bin/env node
// The command `countersign`. In a checkout it first installs and builds what is out of date; installed as a package, it
// only runs. The command itself runs in this process, so that signals and exit codes are its own.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { prepare, root } from './prepare.mjs'

await prepare()
const { main } = await import(pathToFileURL(join(root, 'dist', 'src', 'cli', 'main.js')).href)
process.exitCode = await main(process.argv.slice(2))
