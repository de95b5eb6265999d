-- What every login may do in any database, and a login that only reads must not: temporary tables and large objects take disk, whatever rights there
-- are on tables. Done as far as the migrating login may: it must own the database for the first, be a superuser for the second.
do $$
declare
    f record;
begin
    begin
        execute format('revoke temporary on database %I from public', current_database());
        execute format('grant temporary on database %I to capsule_writer', current_database());
    exception when insufficient_privilege then
        raise notice 'temporary tables stay allowed to everybody: this login does not own the database';
    end;
    for f in select p.oid::regprocedure as signature from pg_proc p
             where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_open', 'lowrite', 'lo_put') loop
        begin
            execute format('revoke execute on function %s from public', f.signature);
        exception when insufficient_privilege then
            raise notice 'large objects stay allowed to everybody: this login is no superuser';
            exit;
        end;
    end loop;
end
$$;
