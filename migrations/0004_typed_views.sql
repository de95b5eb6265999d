-- A view for each topic with the payload's fields as columns, made from the newest schema met in the topic. Rows of older schemas show null where
-- a field is missing or is of another kind: one odd row never breaks a query.
set local role capsule_owner;

create function capsule.as_double(j jsonb) returns double precision language sql immutable parallel safe as $$
    select case jsonb_typeof(j) when 'number' then j::double precision
           when 'string' then case when j #>> '{}' in ('NaN', 'Infinity', '-Infinity') then (j #>> '{}')::double precision end end
$$;
create function capsule.as_bigint(j jsonb) returns bigint language sql immutable parallel safe as $$
    select case when jsonb_typeof(j) = 'number' then
        case when j::numeric between -9223372036854775808 and 9223372036854775807 then j::bigint end end
$$;
create function capsule.as_boolean(j jsonb) returns boolean language sql immutable parallel safe as $$
    select case when jsonb_typeof(j) = 'boolean' then j::boolean end
$$;
create function capsule.as_text(j jsonb) returns text language sql immutable parallel safe as $$
    select j #>> '{}'
$$;
create function capsule.as_numeric(j jsonb) returns numeric language sql immutable parallel safe as $$
    select case jsonb_typeof(j) when 'number' then j::numeric
           when 'string' then case when j #>> '{}' ~ '^-?[0-9]+(\.[0-9]+)?$' then (j #>> '{}')::numeric end end
$$;
-- Whole hours and the rest of them are exact where one product of all microseconds would not be.
create function capsule.as_time(j jsonb, per_second bigint) returns timestamptz language sql immutable parallel safe as $$
    select case when v between -62135596800 * per_second and 253402300800 * per_second - 1 then
        timestamptz 'epoch' + (v / (3600 * per_second)) * interval '1 hour'
        + ((v % (3600 * per_second))::numeric * 1000000 / per_second)::bigint * interval '1 microsecond' end
    from (select capsule.as_bigint(j)) as x (v)
$$;
comment on function capsule.as_double(jsonb) is 'A payload''s number as double precision, NaN and the infinities too; null when it is none.';
comment on function capsule.as_bigint(jsonb) is 'A payload''s number as bigint; null when it is none or out of range.';
comment on function capsule.as_boolean(jsonb) is 'A payload''s boolean; null when it is none.';
comment on function capsule.as_text(jsonb) is 'A payload''s value as text.';
comment on function capsule.as_numeric(jsonb) is 'A payload''s decimal, which is a string there, as numeric; null when it is none.';
comment on function capsule.as_time(jsonb, bigint) is 'A payload''s count of units since 1970 as a time, years 0001 to 9999; per_second: 1000 for timestamp-millis, 1000000 for timestamp-micros.';

-- The expression for a field of this Avro type; %s stands for the field in the payload.
create function capsule.column_expression(avro jsonb) returns text language plpgsql immutable set search_path = pg_catalog as $$
declare
    t    jsonb := avro;
    name text;
begin
    if jsonb_typeof(t) = 'array' then
        t := (select case when count(*) = 1 then (array_agg(x))[1] end from jsonb_array_elements(avro) as u (x) where x <> '"null"');
    end if;
    name := case jsonb_typeof(t) when 'string' then t #>> '{}' when 'object' then t ->> 'type' end;
    return case
        when t ->> 'logicalType' = 'timestamp-millis' and name = 'long' then 'capsule.as_time(%s, 1000)'
        when t ->> 'logicalType' = 'timestamp-micros' and name = 'long' then 'capsule.as_time(%s, 1000000)'
        when t ->> 'logicalType' = 'decimal' and name in ('bytes', 'fixed') then 'capsule.as_numeric(%s)'
        when name in ('float', 'double') then 'capsule.as_double(%s)'
        when name in ('int', 'long') then 'capsule.as_bigint(%s)'
        when name = 'boolean' then 'capsule.as_boolean(%s)'
        when name in ('string', 'bytes', 'fixed', 'enum') then 'capsule.as_text(%s)'
        else '%s'
    end;
end
$$;
comment on function capsule.column_expression(jsonb) is 'How a typed view turns a field of this Avro type into a column; what has no type of its own stays jsonb.';

create function capsule.typed_view_columns(schema jsonb, out list text, out comments text[])
language plpgsql stable set search_path = pg_catalog as $$
declare
    envelope constant text[] := array['event_id', 'revision', 'rim_node_id', 'event_time', 'kafka_time', 'recorded_at', 'kafka_partition',
                                      'kafka_offset', 'schema_id', 'trace_id', 'cause_id', 'source_id'];
    taken    text[] := envelope;
    f        jsonb;
    col      text;
begin
    list := (select string_agg('e.' || x, ', ') from unnest(envelope) as u (x));
    select array_agg('comment on column capsule.%I.' || replace(format('%I is %L', x, col_description('capsule.events'::regclass, a.attnum)), '%', '%%'))
        into comments from unnest(envelope) as u (x) join pg_attribute a on a.attrelid = 'capsule.events'::regclass and a.attname = x;
    for f in select x from jsonb_array_elements(case when schema ->> 'type' = 'record' then schema -> 'fields' else '[]' end) as u (x) limit 1000 loop
        col := f ->> 'name';
        if col = any (taken) then
            col := 'payload_' || col;
        end if;
        col := left(col, 60);
        continue when col = any (taken);
        taken := taken || col;
        list := list || ', ' || format(capsule.column_expression(f -> 'type'), format('(e.payload -> %L)', f ->> 'name')) || format(' as %I', col);
        comments := comments || ('comment on column capsule.%I.' || replace(format('%I is %L', col,
            format('The payload''s field %s', f ->> 'name') || coalesce(': ' || (f ->> 'doc'), '') || '.'), '%', '%%'));
    end loop;
end
$$;
comment on function capsule.typed_view_columns(jsonb) is 'The columns of a typed view from an Avro schema: first the envelope, then the payload''s fields (payload_… where the name is taken), and the statements that comment on them.';

create function capsule.refresh_typed_view(topic text) returns boolean language plpgsql security definer
set search_path = pg_catalog set lock_timeout = '5s' as $$
declare
    t       capsule.topics;
    newest  capsule.schemas;
    body    text;
    wanted  record;
    c       text;
begin
    select * into t from capsule.topics x where x.topic = refresh_typed_view.topic;
    select s.* into newest from capsule.schemas s join capsule.schema_topics st using (schema_id)
        where st.topic = t.topic and s.type = 'AVRO' order by s.schema_id desc limit 1;
    if newest.schema_id is null or newest.schema_id = t.view_schema then
        return newest.schema_id is not null;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('capsule.topic:' || t.topic, 0));
    select * into wanted from capsule.typed_view_columns(newest.schema::jsonb);
    body := format('view capsule.%I as select %s from capsule.current_events e where e.topic = %L', t.typed_view, wanted.list, t.topic);
    begin
        execute 'create or replace ' || body;
    exception when invalid_table_definition then -- columns went or changed their kind
        begin
            execute format('drop view capsule.%I', t.typed_view);
            execute 'create ' || body;
        exception when dependent_objects_still_exist then
            raise warning 'typed view % stays as it was: other views rest on it', t.typed_view;
            return false;
        end;
    end;
    execute format('comment on view capsule.%I is %L', t.typed_view,
        format('Topic %s with the payload''s fields as columns, by schema %s; the newest revision of each event.', t.topic, newest.schema_id));
    foreach c in array wanted.comments loop
        execute format(c, t.typed_view);
    end loop;
    execute format('grant select on capsule.%I to capsule_writer, capsule_reader, capsule_auditor', t.typed_view);
    update capsule.topics x set view_schema = newest.schema_id where x.topic = t.topic;
    return true;
exception when lock_not_available then -- somebody reads the old one for long: the next call will do it
    return false;
end
$$;
comment on function capsule.refresh_typed_view(text) is 'Make or replace a topic''s typed view from its newest schema; false when there is none, when other views rest on the old one, or when it is in use for more than 5 seconds.';

revoke execute on function capsule.column_expression(jsonb), capsule.typed_view_columns(jsonb), capsule.refresh_typed_view(text) from public;
grant execute on function capsule.refresh_typed_view(text) to capsule_writer;
