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
      -- From PostgreSQL 16 on, who makes a role without being superuser may grant it, but not act as it.
      if not (select rolsuper from pg_roles where rolname = current_user) then
        begin
          execute format('grant countersign_owner to %I', current_user);
        exception when insufficient_privilege then
          null; -- somebody else made the roles, and may have granted it already
        end;
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
