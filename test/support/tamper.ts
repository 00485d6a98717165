import type pg from 'pg'
import { chainHash, GENESIS, leafHash } from '../../src/ledger/hash.js'

/** What only a superuser can do, and only with the triggers off: what verification is there to find. */
export class Tamperer {
  readonly superuser: pg.Client

  constructor(superuser: pg.Client) {
    this.superuser = superuser
  }

  /** `session_replication_role` does not silence ALWAYS triggers, so they are disabled one table at a time. */
  async disarm(): Promise<void> {
    const { rows } = await this.superuser.query<{ name: string }>(
      `select oid::regclass::text as name from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`,
    )
    for (const { name } of rows) await this.superuser.query(`alter table ${name} disable trigger all`)
  }

  async sql(text: string, values: unknown[] = []): Promise<void> {
    await this.superuser.query(text, values)
  }

  async row(tenant: string, seq: number): Promise<{ leaf: Buffer; chain_hash: Buffer }> {
    const { rows } = await this.superuser.query<{ leaf: Buffer; chain_hash: Buffer }>(
      'select leaf, chain_hash from entries where tenant = $1 and seq = $2',
      [tenant, seq],
    )
    if (!rows[0]) throw new Error(`no entry ${seq} of ${tenant}`)
    return rows[0]
  }

  /** Changes a leaf's text and nothing else. */
  async edit(tenant: string, seq: number, change: (leaf: string) => string): Promise<void> {
    const { leaf } = await this.row(tenant, seq)
    const text = leaf.toString('latin1')
    const changed = change(text)
    if (changed === text) throw new Error(`entry ${seq} was not changed`)
    await this.sql('update entries set leaf = $3 where tenant = $1 and seq = $2', [
      tenant,
      seq,
      Buffer.from(changed, 'latin1'),
    ])
  }

  /** Makes the chain hashes of the entries `from` to `to` follow from their leaves again. */
  async rechain(tenant: string, from: number, to = from): Promise<void> {
    let previous = from === 0 ? GENESIS : (await this.row(tenant, from - 1)).chain_hash
    for (let seq = from; seq <= to; seq++) {
      previous = chainHash(previous, leafHash((await this.row(tenant, seq)).leaf))
      await this.sql('update entries set chain_hash = $3 where tenant = $1 and seq = $2', [tenant, seq, previous])
    }
  }

  /** Makes the head fit the last entry again. */
  async rehead(tenant: string): Promise<void> {
    await this.sql(
      `update heads set next_seq = l.seq + 1, chain_hash = l.chain_hash, recorded_at = l.recorded_at
       from (select seq, chain_hash, recorded_at from entries where tenant = $1 order by seq desc limit 1) l
       where tenant = $1`,
      [tenant],
    )
  }
}
