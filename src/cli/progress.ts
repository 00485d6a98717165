/** Where progress is shown: a terminal gets a bar, anything else plain lines. */
export interface ProgressOutput {
  write: (text: string) => unknown
  isTTY?: boolean
  columns?: number
}

export interface ProgressOptions {
  /** What is going on: `Importing git history`. */
  label: string
  /** Standard error, so that answers can be piped. */
  output: ProgressOutput
  /** Shows nothing at all, as with `--json`. */
  quiet?: boolean
  /** What is counted: `commits`. */
  unit?: string
  /** Milliseconds, never going backwards. */
  now?: () => number
}

export interface Progress {
  update: (progress: { done: number; total?: number | undefined; ratePerS?: number | undefined }) => void
  /** Takes the bar away. What was achieved is the caller's to say. */
  end: () => void
}

/** What takes less than this is over before anyone wonders. */
const QUIET_MS = 1000
const REDRAW_MS = 100
const LINE_MS = 2000

/** Shows how far something is, from one second on: a bar that is redrawn, or a line about every two seconds. */
export function showProgress(options: ProgressOptions): Progress {
  const { output, quiet = false, now = () => performance.now() } = options
  const started = now()
  const terminal = output.isTTY === true
  let shownAt = started + QUIET_MS - (terminal ? REDRAW_MS : LINE_MS)
  let drawn = false
  return {
    update(progress) {
      const at = now()
      if (quiet || at - shownAt < (terminal ? REDRAW_MS : LINE_MS)) return
      shownAt = at
      if (!terminal) {
        output.write(`${line(options, progress)}\n`)
        return
      }
      output.write(`\r\u001b[2K${bar(options, progress, output.columns ?? 80)}`)
      drawn = true
    },
    end() {
      if (drawn) output.write('\r\u001b[2K')
      drawn = false
    },
  }
}

type Shown = Parameters<Progress['update']>[0]

/** `Importing git history: 1,200 of 4,000 commits (30 %), 2,400/s, about 2 s left` */
function line({ label, unit = 'events' }: ProgressOptions, { done, total, ratePerS }: Shown): string {
  const counted = total === undefined ? '' : ` of ${thousands(total)}`
  return `${label}: ${thousands(done)}${counted} ${unit}${percent(done, total)}${speed(done, total, ratePerS)}`
}

function bar(options: ProgressOptions, shown: Shown, columns: number): string {
  const { done, total, ratePerS } = shown
  if (total === undefined || total === 0) return clip(line(options, shown), columns)
  const before = `${options.label} `
  const after = ` ${thousands(done)}/${thousands(total)}${percent(done, total)}${speed(done, total, ratePerS)}`
  const width = Math.min(30, columns - 1 - before.length - after.length)
  if (width < 5) return clip(line(options, shown), columns)
  const filled = Math.round(width * Math.min(1, done / total))
  return `${before}${'█'.repeat(filled)}${'░'.repeat(width - filled)}${after}`
}

function percent(done: number, total: number | undefined): string {
  return total === undefined || total === 0 ? '' : ` (${Math.min(100, Math.floor((done * 100) / total))} %)`
}

function speed(done: number, total: number | undefined, ratePerS: number | undefined): string {
  if (ratePerS === undefined || ratePerS <= 0) return ''
  const left = total === undefined || total <= done ? '' : `, about ${duration((total - done) / ratePerS)} left`
  return `, ${thousands(Math.round(ratePerS))}/s${left}`
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.ceil(seconds))} s`
  return seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`
}

function clip(text: string, columns: number): string {
  return text.length < columns ? text : text.slice(0, Math.max(0, columns - 1))
}

function thousands(count: number): string {
  return count.toLocaleString('en-US')
}
