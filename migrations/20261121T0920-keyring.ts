import { sql, type Kysely } from 'kysely'

/** Sealed personal data and the keys it lies under. None of it can be rebuilt: destroying it is what erasure does. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`set local role countersign_owner`.execute(db)

  await sql`
    create table installation (
      one boolean primary key default true check (one),
      id text collate "C" not null check (id ~ '^[0-9a-f]{32}$'),
      key_ids text[] not null,
      backed_up_key_ids text[] not null default '{}',
      backed_up_at timestamptz
    )`.execute(db)

  await sql`
    create table sealed_groups (
      tenant text collate "C" not null,
      seq bigint not null,
      "group" text collate "C" not null,
      subject text collate "C" not null,
      generation integer not null check (generation >= 1),
      ciphertext bytea not null check (octet_length(ciphertext) > 60),
      primary key (tenant, seq, "group")
    )`.execute(db)

  await sql`
    create table subjects (
      tenant text collate "C" not null references tenants,
      subject text collate "C" not null,
      created_at timestamptz not null default now(),
      erased_seq bigint,
      primary key (tenant, subject)
    )`.execute(db)

  await sql`
    create table subject_keys (
      tenant text collate "C" not null,
      subject text collate "C" not null,
      generation integer not null check (generation >= 1),
      wrapped bytea not null check (octet_length(wrapped) = 69),
      wrapped_by text collate "C" not null generated always as (encode(substr(wrapped, 2, 8), 'hex')) stored,
      primary key (tenant, subject, generation),
      foreign key (tenant, subject) references subjects
    )`.execute(db)
  await sql`create index subject_keys_wrapped_by on subject_keys (wrapped_by, tenant, subject)`.execute(db)

  await sql`
    create table tenant_keys (
      tenant text collate "C" not null references tenants,
      purpose text collate "C" not null,
      generation integer not null check (generation >= 1),
      wrapped bytea not null check (octet_length(wrapped) = 69),
      wrapped_by text collate "C" not null generated always as (encode(substr(wrapped, 2, 8), 'hex')) stored,
      primary key (tenant, purpose, generation)
    )`.execute(db)

  await sql`
    create table identifiers (
      tenant text collate "C" not null,
      hmac bytea not null check (octet_length(hmac) = 32),
      subject text collate "C" not null,
      kind text collate "C" not null,
      generation integer not null check (generation >= 1),
      sealed bytea not null check (octet_length(sealed) > 28),
      primary key (tenant, hmac),
      foreign key (tenant, subject) references subjects
    )`.execute(db)
  await sql`create index identifiers_subject on identifiers (tenant, subject)`.execute(db)

  await sql`
    do $$
    declare
      name text;
    begin
      foreach name in array array['sealed_groups', 'subjects', 'subject_keys', 'tenant_keys', 'identifiers'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy one_tenant on %I to countersign_keyring
          using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))', name);
      end loop;
      alter table installation enable row level security;
      alter table installation force row level security;
    end $$`.execute(db)
  await sql`
    create policy everyone on installation for select
    to countersign_writer, countersign_command, countersign_reader, countersign_keyring, countersign_operator
    using (true)`.execute(db)
  await sql`create policy set_up on installation to countersign_owner using (true) with check (true)`.execute(db)
  await sql`create policy note_backup on installation for update to countersign_keyring using (true) with check (true)`.execute(
    db,
  )
  await sql`create policy foreign_keys on subjects for select to countersign_owner using (true)`.execute(db)
  await sql`create policy appender on sealed_groups for insert to countersign_writer with check (true)`.execute(db)
  await sql`
    create policy commands on sealed_groups for insert to countersign_command
    with check (tenant = (select current_tenant()))`.execute(db)
  await sql`
    create policy known_subjects on subjects for select to countersign_command, countersign_reader
    using (tenant = (select current_tenant()))`.execute(db)

  await sql`
    grant select on installation
    to countersign_writer, countersign_command, countersign_reader, countersign_keyring, countersign_operator`.execute(
    db,
  )
  await sql`grant update (backed_up_key_ids, backed_up_at) on installation to countersign_keyring`.execute(db)
  await sql`grant insert on sealed_groups to countersign_writer, countersign_command`.execute(db)
  await sql`grant select, insert, delete on sealed_groups to countersign_keyring`.execute(db)
  await sql`grant select on subjects to countersign_command, countersign_reader`.execute(db)
  await sql`grant select, insert, update (erased_seq) on subjects to countersign_keyring`.execute(db)
  await sql`grant select, insert, update (wrapped), delete on subject_keys, tenant_keys to countersign_keyring`.execute(
    db,
  )
  await sql`grant select, insert, update (sealed, generation), delete on identifiers to countersign_keyring`.execute(db)
  await sql`reset role`.execute(db)
}
