import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** The tests run as compiled: what ships is what is tested, worker threads and child processes included. */
export default defineConfig({
  test: {
    include: ['dist/test/**/*.test.js'],
    globalSetup: ['dist/test/support/postgres.js', 'dist/test/support/temporal-server.js'],
    pool: 'forks',
    // Most of the time of most tests is waiting, for servers and for programs that start.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
