import { canonicalize } from '../src/ledger/jcs.js'
import type { ReportParameters } from './parameters.js'

export interface ManifestFile {
  name: string
  format: 'csv' | 'pdf'
  sha256: string
  bytes: number
  rows: number
  /** CSV: cells with an apostrophe in front. */
  neutralised?: number
  /** PDF: entries that show only the beginning of their data. */
  shortened?: number
  pages?: number
}

/** Says what the files beside it are, for people and programs: canonical JSON (RFC 8785) and a line feed. */
export function manifest(
  kind: string,
  parameters: ReportParameters,
  counts: Readonly<Record<string, number>>,
  columns: readonly string[],
  files: readonly ManifestFile[],
): string {
  return `${canonicalize({
    kind: `countersign.${kind}`,
    version: 1,
    parameters,
    counts: { ...counts },
    files,
    columns: [...columns],
    notes: notes(files),
    check: [
      'sha256sum FILE: the digest must be the one of the file above',
      'countersign report check FILE: says whether this log recorded a file with this digest (report.generated)',
      ...(parameters.range
        ? [
            `countersign verify --tenant ${parameters.tenant} --expect ${parameters.range.lastSeq}:${parameters.range.lastChainHash}`,
          ]
        : []),
    ],
  })}\n`
}

function notes(files: readonly ManifestFile[]): string[] {
  const notes: string[] = []
  for (const { format, name, neutralised = 0, rows, shortened = 0 } of files) {
    if (format === 'csv') {
      notes.push(
        `${name}: RFC 4180, UTF-8, CRLF, no byte order mark. Cells that a spreadsheet would run as a formula have an apostrophe in front: ${neutralised}. ` +
          "To get the exact text back, take one apostrophe off every cell that matches ^'+[=+\\-@\\t\\r\\n\\uFF0B\\uFF0D\\uFF1D\\uFF20]",
      )
    } else {
      notes.push(`${name}: lists ${rows} entries, ${shortened} of them with only the beginning of their data`)
    }
  }
  return notes
}
