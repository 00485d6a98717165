import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Where finished reports rest: `<folder>/<tenant>/<id>.<extension>`, for this user only. */
export class ReportFiles {
  private readonly folder: string

  /** @param folder made when it is first needed */
  constructor(folder: string) {
    this.folder = folder
  }

  /** @throws RangeError when a part could lead elsewhere */
  path(tenant: string, id: string, extension: string): string {
    for (const part of [tenant, id, extension]) {
      if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/.test(part))
        throw new RangeError(`no part of a path: ${JSON.stringify(part)}`)
    }
    return join(this.folder, tenant, `${id}.${extension}`)
  }

  /** Makes the folder of one tenant's reports. */
  async prepare(tenant: string): Promise<void> {
    await mkdir(dirname(this.path(tenant, 'any', 'any')), { recursive: true, mode: 0o700 })
  }
}
