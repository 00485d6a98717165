#!/usr/bin/env node
// `npm run bench`: installs and builds what is out of date, then measures. Arguments are the bench's own.
import { join } from 'node:path'
import { prepare, root, run } from './prepare.mjs'

await prepare()
// A process of its own, so that measures that start further ones (and count memory) begin from nothing of ours.
const words = ['--expose-gc', join(root, 'dist', 'bench', 'main.js'), ...process.argv.slice(2)]
process.exit(await run(process.execPath, words))
