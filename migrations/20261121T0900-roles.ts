import { sql, type Kysely } from 'kysely'

/**
 * The group roles that hold every grant. They cannot log in: each installation has logins of its own that are members.
 * Roles belong to the whole cluster, so two databases may be migrated at once: what exists already is left as it is.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    do $$
    declare
      name text;
    begin
      foreach name in array array['owner', 'writer', 'command', 'reader', 'keyring', 'operator'] loop
        begin
          execute format('create role %I nologin nobypassrls', 'countersign_' || name);
        exception when duplicate_object or unique_violation then
          null;
        end;
      end loop;
      if not pg_has_role(current_user, 'countersign_owner', 'member') then
        execute format('grant countersign_owner to %I', current_user);
      end if;
    end $$`.execute(db)
  await sql`
    do $$ begin
      execute format('revoke all on database %I from public', current_database());
    end $$`.execute(db)
  await sql`revoke all on schema public from public`.execute(db)
  await sql`grant usage, create on schema public to countersign_owner`.execute(db)
  await sql`
    grant usage on schema public
    to countersign_writer, countersign_command, countersign_reader, countersign_keyring, countersign_operator`.execute(
    db,
  )
}
