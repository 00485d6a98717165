import { sql, type Kysely } from 'kysely'

/**
 * The rules of single columns of the two tables that every append writes, as domains. A check of a table is read and
 * planned anew by each statement for each partition it inserts into, about a sixth of what a batch over many tenants
 * costs the server; a domain's is a part of the plan. What the columns take stays the same. Rewrites both tables.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)
  await sql`create domain ledger_count as bigint check (value >= 0)`.execute(db)
  await sql`create domain ledger_leaf as bytea check (octet_length(value) between 2 and 65535)`.execute(db)
  await sql`create domain ledger_hash as bytea check (octet_length(value) = 32)`.execute(db)
  await sql`
    alter table entries
      drop constraint entries_seq_check, drop constraint entries_leaf_check, drop constraint entries_chain_hash_check,
      alter column seq type ledger_count, alter column leaf type ledger_leaf, alter column chain_hash type ledger_hash`.execute(
    db,
  )
  await sql`
    alter table heads
      drop constraint heads_next_seq_check, drop constraint heads_chain_hash_check, drop constraint heads_key_epoch_check,
      alter column next_seq type ledger_count, alter column chain_hash type ledger_hash, alter column key_epoch type ledger_count`.execute(
    db,
  )
  await sql`reset role`.execute(db)
}
