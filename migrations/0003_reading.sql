-- What analysts read: views and functions over the tables, and how analysts get their logins.
set local role capsule_owner;

-- Time travel: two settings of the session that views and functions obey. Plain stable expressions, so that the planner reads them into the query
-- and leaves out partitions by them.
create function capsule.as_of() returns timestamptz language sql stable parallel safe as $$
    select coalesce(nullif(current_setting('capsule.as_of', true), '')::timestamptz, 'infinity')
$$;
comment on function capsule.as_of() is 'The session''s setting capsule.as_of, infinity when it is not set: views and functions show nothing whose event_time is later.';
create function capsule.known_by() returns timestamptz language sql stable parallel safe as $$
    select coalesce(nullif(current_setting('capsule.known_by', true), '')::timestamptz, 'infinity')
$$;
comment on function capsule.known_by() is 'The session''s setting capsule.known_by, infinity when it is not set: views and functions show nothing that was recorded later.';

create view capsule.current_events as
    select e.* from capsule.events e
    where e.event_time <= capsule.as_of() and e.recorded_at <= capsule.known_by()
      and not exists (select from capsule.revisions r where r.topic = e.topic and r.event_id = e.event_id and r.revision > e.revision
                                                        and r.recorded_at <= capsule.known_by());
comment on view capsule.current_events is 'Events without the revisions that a newer one replaced. Columns as in capsule.events. SET capsule.as_of and capsule.known_by to see it as it was.';

create view capsule.nodes as
    select n.rim_node_id, split_part(n.rim_node_id, ':', 2) as node_type, split_part(n.rim_node_id, ':', 3) as namespace,
           split_part(n.rim_node_id, ':', 4) as local_id, array_agg(n.topic order by n.topic) as topics,
           min(n.first_recorded_at) as first_recorded_at
    from capsule.node_topics n where n.first_recorded_at <= capsule.known_by() group by n.rim_node_id;
comment on view capsule.nodes is 'Every node that has an event, as far as SET capsule.known_by lets it be known.';
comment on column capsule.nodes.rim_node_id is 'rim:{node_type}:{namespace}:{local_id}.';
comment on column capsule.nodes.node_type is 'Part of rim_node_id.';
comment on column capsule.nodes.namespace is 'Part of rim_node_id.';
comment on column capsule.nodes.local_id is 'Part of rim_node_id.';
comment on column capsule.nodes.topics is 'The topics that have events about it.';
comment on column capsule.nodes.first_recorded_at is 'When the first of them was recorded.';

do $$ -- the view's columns mean what the table's do
declare
    c record;
begin
    for c in select a.attname, col_description(a.attrelid, a.attnum) as about from pg_attribute a
             where a.attrelid = 'capsule.events'::regclass and a.attnum > 0 loop
        execute format('comment on column capsule.current_events.%I is %L', c.attname, c.about);
    end loop;
end
$$;

create function capsule.event_id(text) returns uuid language sql immutable strict parallel safe set search_path = pg_catalog as $$
    select case when $1 ~ '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$' then $1::uuid
           else (select encode(set_byte(set_byte(h, 6, (get_byte(h, 6) & 15) | 128), 8, (get_byte(h, 8) & 63) | 128), 'hex')::uuid
                 from (select substr(sha256(convert_to('butterfly:event-id:' || $1, 'UTF8')), 1, 16)) as d (h)) end
$$;
comment on function capsule.event_id(text) is 'What an event id given as text means: itself when it is a UUID; else the version-8 UUID made of the first 16 bytes of SHA-256(''butterfly:event-id:'' || id).';

-- The order is that of an index on (rim_node_id, event_time, recorded_at), newest first, so that each look stops at its first hit: whatever the
-- statistics say, nothing else is faster.
create function capsule.state_of(topics text[], first_node text, last_node text, at timestamptz, known_by timestamptz, recorded_below timestamptz)
returns setof capsule.events language plpgsql stable
set search_path = pg_catalog set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
declare
    t record;
begin
    for t in select x.topic, x.event_table from capsule.topics x where topics is null or x.topic = any (topics) order by x.topic loop
        return query execute format($q$
            select e.*
            from capsule.node_topics n, lateral (
                select x.* from capsule.%I x
                where x.rim_node_id = n.rim_node_id and x.event_time <= $1 and x.recorded_at <= $2 and x.recorded_at < $3
                  and x.revision >= coalesce((select max(r.revision) from capsule.revisions r
                                              where r.topic = $4 and r.event_id = x.event_id and r.recorded_at <= $2), 0)
                order by x.event_time desc, x.recorded_at desc limit 1) e
            where n.topic = $4 and ($5 is null or n.rim_node_id >= $5) and ($6 is null or n.rim_node_id <= $6)$q$, t.event_table)
            using at, known_by, recorded_below, t.topic, first_node, last_node;
    end loop;
end
$$;
comment on function capsule.state_of(text[], text, text, timestamptz, timestamptz, timestamptz) is 'State of the nodes from first_node to last_node (null: all) in these topics (null: all): per node and topic the newest event with event_time <= at among what was recorded by known_by and before recorded_below, leaving out what a revision known by then replaces.';

create function capsule.state_as_of(at timestamptz, known_by timestamptz default 'infinity')
returns setof capsule.events language sql stable as $$
    select * from capsule.state_of(null, null, null, least(at, capsule.as_of()), least(known_by, capsule.known_by()), 'infinity')
$$;
comment on function capsule.state_as_of(timestamptz, timestamptz) is 'The state of the world: per node and topic the newest event with event_time <= at, among what had been recorded by known_by. The session''s capsule.as_of and capsule.known_by bound both.';

create function capsule.node_history(node text, "from" timestamptz default '-infinity', "to" timestamptz default 'infinity')
returns setof capsule.events language sql stable as $$
    select * from capsule.events e
    where e.rim_node_id = node and e.event_time >= "from" and e.event_time < "to"
      and e.event_time <= capsule.as_of() and e.recorded_at <= capsule.known_by()
    order by e.event_time desc, e.recorded_at desc
$$;
comment on function capsule.node_history(text, timestamptz, timestamptz) is 'All that happened to a node in ["from", "to"), newest first, every revision. The session''s capsule.as_of and capsule.known_by bound it.';

create function capsule.create_analyst(login name, password text default null, statement_timeout interval default '60 seconds')
returns void language plpgsql set search_path = pg_catalog as $$
begin
    execute format('create role %I login in role capsule_reader', login);
    if password is not null then
        execute format('alter role %I password %L', login, password);
    end if;
    execute format('alter role %I in database %I set default_transaction_read_only = on', login, current_database());
    execute format('alter role %I in database %I set statement_timeout = %L', login, current_database(),
                   (extract(epoch from statement_timeout) * 1000)::bigint::text || 'ms');
    execute format('alter role %I in database %I set idle_in_transaction_session_timeout = %L', login, current_database(), '60s');
    execute format('alter role %I in database %I set search_path = capsule, public', login, current_database());
    execute format('alter role %I in database %I set jit = off', login, current_database());
end
$$;
comment on function capsule.create_analyst(name, text, interval) is 'Make a login for an analyst: member of capsule_reader, read-only, with time limits in this database. To be called by somebody who may create roles. (A setting of a role counts only for the role that logs in, so the group role cannot carry them.)';

create function capsule.create_auditor(login name, password text default null) returns void language plpgsql set search_path = pg_catalog as $$
begin
    execute format('create role %I login in role capsule_auditor', login);
    if password is not null then
        execute format('alter role %I password %L', login, password);
    end if;
    execute format('alter role %I in database %I set idle_in_transaction_session_timeout = %L', login, current_database(), '60s');
    execute format('alter role %I in database %I set search_path = capsule, public', login, current_database());
    execute format('alter role %I in database %I set jit = off', login, current_database());
end
$$;
comment on function capsule.create_auditor(name, text) is 'Make a login for an auditor: member of capsule_auditor, who sees quarantined bytes and who read what, and may call capsule.freeze(). To be called by somebody who may create roles.';

grant select on capsule.current_events, capsule.nodes to capsule_writer, capsule_reader, capsule_auditor;
revoke execute on function capsule.create_analyst(name, text, interval) from public;
revoke execute on function capsule.create_auditor(name, text) from public;
