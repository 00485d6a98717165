import { expect, test } from 'vitest'
import { showProgress } from '../../src/cli/progress.js'

function scene(output: { isTTY?: boolean; columns?: number; quiet?: boolean } = {}) {
  const written: string[] = []
  let at = 0
  const progress = showProgress({
    label: 'Importing git history',
    unit: 'commits',
    output: { ...output, write: (text) => written.push(text) },
    quiet: output.quiet ?? false,
    now: () => at,
  })
  return {
    written,
    progress,
    step: (ms: number, done: number, total?: number, ratePerS?: number) => {
      at += ms
      progress.update({ done, total, ratePerS })
    },
  }
}

test('what takes less than a second shows nothing', () => {
  for (const isTTY of [true, false]) {
    const { written, progress, step } = scene({ isTTY })
    for (let n = 1; n < 100; n++) step(10, n, 100)
    progress.end()
    expect(written).toEqual([])
  }
})

test('without a terminal there is a plain line about every two seconds', () => {
  const { written, step } = scene()
  for (let n = 1; n <= 60; n++) step(100, n * 100, 6000, 1000)
  expect(written).toEqual([
    'Importing git history: 1,000 of 6,000 commits (16 %), 1,000/s, about 5 s left\n',
    'Importing git history: 3,000 of 6,000 commits (50 %), 1,000/s, about 3 s left\n',
    'Importing git history: 5,000 of 6,000 commits (83 %), 1,000/s, about 1 s left\n',
  ])
})

test('a terminal gets a bar on one line, taken away at the end', () => {
  const { written, progress, step } = scene({ isTTY: true, columns: 100 })
  step(1500, 50, 200, 100)
  step(50, 60, 200, 100)
  step(100, 100, 200, 100)
  progress.end()
  expect(written).toEqual([
    `\r\u001b[2KImporting git history ${'█'.repeat(8)}${'░'.repeat(22)} 50/200 (25 %), 100/s, about 2 s left`,
    `\r\u001b[2KImporting git history ${'█'.repeat(15)}${'░'.repeat(15)} 100/200 (50 %), 100/s, about 1 s left`,
    '\r\u001b[2K',
  ])
})

test('a narrow terminal is never wrapped, and an unknown total is not guessed', () => {
  const narrow = scene({ isTTY: true, columns: 20 })
  narrow.step(1500, 50, 200, 100)
  expect(narrow.written).toEqual(['\r\u001b[2KImporting git histo'])
  const unknown = scene()
  unknown.step(1500, 50, undefined, 20)
  expect(unknown.written).toEqual(['Importing git history: 50 commits, 20/s\n'])
})

test('quiet is quiet', () => {
  const { written, step } = scene({ isTTY: true, quiet: true })
  step(5000, 50, 200, 100)
  expect(written).toEqual([])
})
