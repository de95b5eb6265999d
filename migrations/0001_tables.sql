-- The archive's roles and tables. Each file of this folder is applied once, in order, in a transaction of its own, and never changed afterwards.
-- It pastes into psql as it is (inside begin; … commit;).

-- Roles belong to the whole cluster: other databases may make them at the same moment.
do $$
declare
    r record;
begin
    for r in select * from (values
        ('capsule_owner',   'BUTTERFLY: owns schema capsule and everything in it. Nobody logs in as it.'),
        ('capsule_writer',  'BUTTERFLY: what the archiver may do: add rows, keep offsets and the ledger; never change or delete an event.'),
        ('capsule_reader',  'BUTTERFLY: analysts. Read-only, without the raw bytes of quarantined records. Make logins with capsule.create_analyst().'),
        ('capsule_auditor', 'BUTTERFLY: auditors and the HTTP API: everything, read-only, raw quarantined records too.')
    ) as wanted (name, about) loop
        if not exists (select from pg_roles where rolname = r.name) then
            begin
                execute format('create role %I nologin', r.name);
                execute format('comment on role %I is %L', r.name, r.about);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
    if not pg_has_role(current_user, 'capsule_owner', 'member') then
        execute format('grant capsule_owner to %I', current_user);
    end if;
end
$$;

create schema capsule authorization capsule_owner;
set local role capsule_owner;

comment on schema capsule is 'BUTTERFLY''s archive: every event of every topic, with what was known when. Start with capsule.events, capsule.current_events, capsule.state_as_of(), capsule.node_history() and the typed view of a topic, e.g. capsule.rim_fast_path.';
grant usage on schema capsule to capsule_writer, capsule_reader, capsule_auditor;

create table capsule.migrations (
    version    int primary key,
    name       text not null,
    sha256     text not null,
    applied_at timestamptz not null default now(),
    applied_by text not null default session_user
);
comment on table capsule.migrations is 'The files of migrations/ that were applied to this database.';
comment on column capsule.migrations.version is 'The number the file''s name begins with.';
comment on column capsule.migrations.name is 'The file''s name.';
comment on column capsule.migrations.sha256 is 'SHA-256 of the file as it was applied; a file that differs from it is refused.';
comment on column capsule.migrations.applied_at is 'When.';
comment on column capsule.migrations.applied_by is 'Which login did it.';

create table capsule.cluster (
    one        boolean primary key default true check (one),
    cluster_id text not null,
    bound_at   timestamptz not null default now()
);
comment on table capsule.cluster is 'The one Kafka cluster whose offsets this database keeps. Offsets of another one would mean nothing here.';
comment on column capsule.cluster.one is 'Always true: there is one row.';
comment on column capsule.cluster.cluster_id is 'Kafka''s id of the cluster.';
comment on column capsule.cluster.bound_at is 'When the first CAPSULE wrote here.';

create table capsule.topics (
    topic       text collate "C" primary key check (topic ~ '^[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*$'),
    domain      text collate "C" generated always as (split_part(topic, '.', 1)) stored,
    event_type  text collate "C" generated always as (split_part(topic, '.', 2)) stored,
    archive_cut text not null check (archive_cut in ('daily', 'monthly', 'yearly')),
    event_table name not null unique,
    typed_view  name not null unique,
    view_schema int,
    created_at  timestamptz not null default now()
);
comment on table capsule.topics is 'The topics held here, kept by the archiver from the topic catalogue.';
comment on column capsule.topics.topic is 'Kafka''s name: {domain}.{event-type}.';
comment on column capsule.topics.domain is 'What stands before the dot.';
comment on column capsule.topics.event_type is 'What stands after the dot.';
comment on column capsule.topics.archive_cut is 'How its table is cut by event time: daily, monthly or yearly. A change counts for partitions made from then on.';
comment on column capsule.topics.event_table is 'Its partition of capsule.events, itself partitioned by event time.';
comment on column capsule.topics.typed_view is 'The view with the payload''s fields as columns; it appears with the first schema.';
comment on column capsule.topics.view_schema is 'The schema that view was made from; null: there is none yet.';
comment on column capsule.topics.created_at is 'When the first event of the topic was archived.';

create table capsule.events (
    event_id        uuid not null,
    revision        int not null,
    kafka_partition int not null,
    kafka_offset    bigint not null,
    event_time      timestamptz not null,
    kafka_time      timestamptz not null,
    recorded_at     timestamptz not null,
    schema_id       int,
    topic           text collate "C" not null,
    rim_node_id     text collate "C" not null,
    node_type       text collate "C" generated always as (split_part(rim_node_id, ':', 2)) stored,
    namespace       text collate "C" generated always as (split_part(rim_node_id, ':', 3)) stored,
    local_id        text collate "C" generated always as (split_part(rim_node_id, ':', 4)) stored,
    trace_id        text,
    cause_id        uuid,
    source_id       text,
    payload         jsonb,
    content_hash    bytea not null,
    "key"           bytea,
    headers         bytea,
    raw             bytea,
    primary key (event_id, revision, topic, event_time)
) partition by list (topic);
create index events_node on capsule.events (rim_node_id, event_time, recorded_at);
create index events_time on capsule.events (event_time, recorded_at);
create index events_recorded on capsule.events (recorded_at);
create index events_offset on capsule.events (kafka_partition, kafka_offset);
create index events_trace on capsule.events using hash (trace_id) where trace_id is not null;
create index events_cause on capsule.events (cause_id) where cause_id is not null;
comment on table capsule.events is 'One row for each revision of each event. Rows are added and never changed. Identity is (topic, event_id); the order of time is (event_time, recorded_at). Partitioned by topic, then by event time: name the topic and a range of event_time to touch few partitions.';
comment on column capsule.events.event_id is 'The event''s id; ids that are no UUIDs became one by capsule.event_id(), the original is source_id.';
comment on column capsule.events.revision is '1; more where the same id came again with other content. capsule.current_events shows the newest.';
comment on column capsule.events.kafka_partition is 'The partition it was read from.';
comment on column capsule.events.kafka_offset is 'Its offset there.';
comment on column capsule.events.event_time is 'When it was true: the payload''s own time, else Kafka''s.';
comment on column capsule.events.kafka_time is 'The time in Kafka''s record.';
comment on column capsule.events.recorded_at is 'When CAPSULE first stored it, strictly increasing per instance. "As known by S" means recorded_at <= S.';
comment on column capsule.events.schema_id is 'The writer''s schema, see capsule.schemas; null for a tombstone.';
comment on column capsule.events.topic is 'Kafka''s topic.';
comment on column capsule.events.rim_node_id is 'The node it is about: rim:{node_type}:{namespace}:{local_id}.';
comment on column capsule.events.node_type is 'Part of rim_node_id: entity, region, market, actor, system, event, scope, relation, metric or signal.';
comment on column capsule.events.namespace is 'Part of rim_node_id.';
comment on column capsule.events.local_id is 'Part of rim_node_id.';
comment on column capsule.events.trace_id is 'Ties events of one flow together; null where there is none.';
comment on column capsule.events.cause_id is 'The id of the event that caused this one; null where there is none.';
comment on column capsule.events.source_id is 'The sender''s own id where that is no UUID.';
comment on column capsule.events.payload is 'The decoded value. U+0000, which jsonb cannot hold, stands as U+FFFD. Null for a tombstone.';
comment on column capsule.events.content_hash is '16 bytes over key, value, node and event time: what "same content" means.';
comment on column capsule.events."key" is 'The message key''s bytes.';
comment on column capsule.events.headers is 'Kafka''s headers, packed: for each the name''s length (2 bytes), name, the value''s length (4 bytes, -1: null), value.';
comment on column capsule.events.raw is 'The value''s bytes exactly as they were in Kafka. Null for a tombstone.';
comment on index capsule.events_pkey is 'Identity. Event time and topic are in it because a partitioned table''s key must hold what it is cut by.';
comment on index capsule.events_node is 'A node''s history and its state at a time.';
comment on index capsule.events_time is 'The order of event time.';
comment on index capsule.events_recorded is 'The order of recording, and "known by".';
comment on index capsule.events_offset is 'By Kafka''s coordinates.';
comment on index capsule.events_trace is 'A trace; hashed, because a trace id may be long.';
comment on index capsule.events_cause is 'What an event caused.';
grant select, insert on capsule.events to capsule_writer;
grant select on capsule.events to capsule_reader, capsule_auditor;

create table capsule.event_partitions (
    topic      text collate "C" not null references capsule.topics,
    from_time  timestamptz not null,
    to_time    timestamptz not null,
    event_table name not null,
    made_at    timestamptz not null default now(),
    primary key (topic, from_time),
    check (from_time < to_time)
);
comment on table capsule.event_partitions is 'The ranges of event time for which a topic''s table has a partition. Written by capsule.ensure_partitions() only.';
comment on column capsule.event_partitions.topic is 'The topic.';
comment on column capsule.event_partitions.from_time is 'The range''s start, inclusive.';
comment on column capsule.event_partitions.to_time is 'The range''s end, exclusive.';
comment on column capsule.event_partitions.event_table is 'The partition that holds it.';
comment on column capsule.event_partitions.made_at is 'When it was made.';

create table capsule.revisions (
    topic       text collate "C" not null,
    event_id    uuid not null,
    revision    int not null check (revision > 1),
    recorded_at timestamptz not null,
    primary key (topic, event_id, revision)
);
comment on table capsule.revisions is 'Every revision above 1, small and beside the events, so that "does something replace this one?" costs one look-up.';
comment on column capsule.revisions.topic is 'The event''s topic.';
comment on column capsule.revisions.event_id is 'The event''s id.';
comment on column capsule.revisions.revision is 'The revision: it replaces all lower ones.';
comment on column capsule.revisions.recorded_at is 'When it was recorded; before that the lower one counted.';

create table capsule.node_topics (
    rim_node_id       text collate "C" not null,
    topic             text collate "C" not null,
    first_recorded_at timestamptz not null,
    primary key (rim_node_id, topic)
);
comment on table capsule.node_topics is 'Which nodes have events in which topics; written with the first event of each pair.';
comment on column capsule.node_topics.rim_node_id is 'The node.';
comment on column capsule.node_topics.topic is 'A topic that has events about it.';
comment on column capsule.node_topics.first_recorded_at is 'When the first of them was recorded.';

create table capsule.duplicates (
    topic           text collate "C" not null,
    event_id        uuid not null,
    revision        int not null,
    kafka_partition int not null,
    kafka_offset    bigint not null,
    kafka_time      timestamptz not null,
    recorded_at     timestamptz not null,
    primary key (topic, kafka_partition, kafka_offset)
);
create index duplicates_event on capsule.duplicates (topic, event_id);
comment on table capsule.duplicates is 'Records that said again what an event of the same id had said: not stored a second time, but known by their coordinates.';
comment on column capsule.duplicates.topic is 'Kafka''s topic.';
comment on column capsule.duplicates.event_id is 'The event it equals.';
comment on column capsule.duplicates.revision is 'The revision it equals.';
comment on column capsule.duplicates.kafka_partition is 'Where it lay.';
comment on column capsule.duplicates.kafka_offset is 'Where it lay.';
comment on column capsule.duplicates.kafka_time is 'The time in Kafka''s record.';
comment on column capsule.duplicates.recorded_at is 'When CAPSULE met it.';
comment on index capsule.duplicates_event is 'Where an event was seen.';

create table capsule.quarantine (
    topic           text collate "C" not null,
    kafka_partition int not null,
    kafka_offset    bigint not null,
    kafka_time      timestamptz not null,
    quarantined_at  timestamptz not null,
    redriven_at     timestamptz,
    reason          text not null check (reason in ('avro', 'framing', 'schema', 'node_id', 'utf8', 'limit', 'refused')),
    schema_id       int,
    detail          text not null,
    "key"           bytea,
    headers         bytea,
    raw             bytea,
    primary key (topic, kafka_partition, kafka_offset)
);
create index quarantine_time on capsule.quarantine (quarantined_at);
comment on table capsule.quarantine is 'Records that could not be decoded or stored, kept raw with the reason. Analysts see where and why, auditors all of it.';
comment on column capsule.quarantine.topic is 'Kafka''s topic.';
comment on column capsule.quarantine.kafka_partition is 'The partition.';
comment on column capsule.quarantine.kafka_offset is 'The offset.';
comment on column capsule.quarantine.kafka_time is 'The time in Kafka''s record.';
comment on column capsule.quarantine.quarantined_at is 'When CAPSULE put it here; the same clock as events.recorded_at.';
comment on column capsule.quarantine.redriven_at is 'When it was taken in after all; null: it was not.';
comment on column capsule.quarantine.reason is 'avro, framing, schema, node_id, utf8, limit, or refused (by PostgreSQL).';
comment on column capsule.quarantine.schema_id is 'The schema it names; null where that could not be read.';
comment on column capsule.quarantine.detail is 'What exactly was wrong.';
comment on column capsule.quarantine."key" is 'The message key''s bytes.';
comment on column capsule.quarantine.headers is 'Kafka''s headers, packed as in capsule.events.';
comment on column capsule.quarantine.raw is 'The value''s bytes.';
comment on index capsule.quarantine_time is 'The order of arrival.';

create table capsule.coverage (
    topic           text collate "C" not null,
    kafka_partition int not null,
    from_offset     bigint not null check (from_offset >= 0),
    to_offset       bigint not null,
    disposition     text not null check (disposition in ('stored', 'duplicate', 'quarantined', 'control', 'lost-before-read')),
    primary key (topic, kafka_partition, from_offset),
    check (from_offset < to_offset)
);
create unique index coverage_end on capsule.coverage (topic, kafka_partition, to_offset);
comment on table capsule.coverage is 'What became of every offset: intervals [from_offset, to_offset) with exactly one disposition each, without overlap. A partition is fully known where they follow each other without a gap up to partition_state.next_offset.';
comment on column capsule.coverage.topic is 'Kafka''s topic.';
comment on column capsule.coverage.kafka_partition is 'The partition.';
comment on column capsule.coverage.from_offset is 'First offset of the interval.';
comment on column capsule.coverage.to_offset is 'First offset after it.';
comment on column capsule.coverage.disposition is 'stored, duplicate, quarantined, control (transaction markers, compaction holes), lost-before-read (the broker dropped it before we came).';
comment on index capsule.coverage_end is 'To lengthen the last interval.';

create table capsule.instances (
    owner            uuid primary key,
    archived_through timestamptz,
    first_seen_at    timestamptz not null default now(),
    last_seen_at     timestamptz not null default now()
);
comment on table capsule.instances is 'The CAPSULE instances that wrote here.';
comment on column capsule.instances.owner is 'The identity of the instance''s hot store.';
comment on column capsule.instances.archived_through is 'All it recorded up to this recorded_at is here.';
comment on column capsule.instances.first_seen_at is 'When it first came.';
comment on column capsule.instances.last_seen_at is 'When it last wrote.';

create table capsule.partition_state (
    topic           text collate "C" not null,
    kafka_partition int not null,
    owner           uuid,
    epoch           bigint not null default 0,
    next_offset     bigint not null default -1,
    taken_at        timestamptz,
    updated_at      timestamptz not null default now(),
    primary key (topic, kafka_partition)
) with (fillfactor = 50);
comment on table capsule.partition_state is 'Who holds a Kafka partition and how far it is archived. An instance that is no longer the owner cannot write: each archive transaction moves next_offset from where it thinks it is, or rolls back.';
comment on column capsule.partition_state.topic is 'Kafka''s topic.';
comment on column capsule.partition_state.kafka_partition is 'The partition.';
comment on column capsule.partition_state.owner is 'The instance that holds it, see capsule.instances.';
comment on column capsule.partition_state.epoch is 'Raised each time somebody takes it.';
comment on column capsule.partition_state.next_offset is 'The first offset that is not archived; -1: nothing is.';
comment on column capsule.partition_state.taken_at is 'When it was taken.';
comment on column capsule.partition_state.updated_at is 'When something of it was last archived.';

create table capsule.schemas (
    schema_id int primary key,
    type      text not null,
    schema    text not null,
    refs      text,
    kept_at   timestamptz not null default now()
);
comment on table capsule.schemas is 'The writers'' schemas, so that the raw bytes can be read without a registry.';
comment on column capsule.schemas.schema_id is 'The registry''s id.';
comment on column capsule.schemas.type is 'AVRO.';
comment on column capsule.schemas.schema is 'Its text as the registry gave it.';
comment on column capsule.schemas.refs is 'The schemas it refers to, a JSON array of {name, schema} in the order they are compiled.';
comment on column capsule.schemas.kept_at is 'When it was first needed.';

create table capsule.schema_topics (
    schema_id int not null references capsule.schemas,
    topic     text collate "C" not null,
    primary key (schema_id, topic)
);
comment on table capsule.schema_topics is 'Which schemas were met in which topics.';
comment on column capsule.schema_topics.schema_id is 'The schema.';
comment on column capsule.schema_topics.topic is 'The topic.';

grant select on capsule.migrations, capsule.cluster, capsule.topics, capsule.event_partitions, capsule.revisions, capsule.node_topics,
    capsule.duplicates, capsule.coverage, capsule.instances, capsule.partition_state, capsule.schemas, capsule.schema_topics
    to capsule_writer, capsule_reader, capsule_auditor;
grant select on capsule.quarantine to capsule_writer, capsule_auditor;
-- Not the bytes, and not the detail, which may quote them.
grant select (topic, kafka_partition, kafka_offset, kafka_time, quarantined_at, redriven_at, reason, schema_id) on capsule.quarantine
    to capsule_reader;
grant insert on capsule.cluster, capsule.revisions, capsule.node_topics, capsule.duplicates, capsule.quarantine, capsule.coverage,
    capsule.instances, capsule.partition_state, capsule.schemas, capsule.schema_topics to capsule_writer;
grant update (to_offset) on capsule.coverage to capsule_writer;
grant update on capsule.instances, capsule.partition_state to capsule_writer;
