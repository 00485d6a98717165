import { sql, type Kysely } from 'kysely'

/** Tokens: only a digest of each secret is kept. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)
  await sql`
    create table tokens (
      tenant text collate "C" not null references tenants,
      id text collate "C" not null,
      hash bytea not null unique check (octet_length(hash) = 32),
      principal text collate "C" not null,
      permissions text[] not null,
      description text,
      created_at timestamptz not null,
      expires_at timestamptz,
      revoked_at timestamptz,
      primary key (tenant, id)
    )`.execute(db)
  await sql`alter table tokens enable row level security`.execute(db)
  await sql`alter table tokens force row level security`.execute(db)
  await sql`
    create policy one_tenant on tokens to countersign_reader, countersign_command, countersign_keyring
    using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))`.execute(db)
  await sql`grant select on tokens to countersign_reader`.execute(db)
  await sql`grant select, insert, update (revoked_at) on tokens to countersign_command, countersign_keyring`.execute(db)
  await sql`reset role`.execute(db)
}
