-- Replays into Kafka: jobs that outlive the instance that runs them. How far one is stands in Kafka itself, in the same transaction as what it sent;
-- the figures here are for people.
set local role capsule_owner;

create table capsule.replay_jobs (
    id            uuid primary key,
    name          text not null check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    topics        text not null,
    node          text,
    node_prefix   text,
    ordering      text not null check (ordering in ('event_time', 'recorded', 'offset')),
    from_us       bigint not null,
    to_us         bigint not null,
    partition     int,
    known_by      timestamptz not null,
    rate          bigint not null check (rate >= 0),
    partitions    int not null check (partitions > 0),
    state         text not null check (state in ('running', 'paused', 'cancelled', 'done', 'failed')),
    owner         uuid,
    heartbeat_at  timestamptz,
    created_at    timestamptz not null default now(),
    started_at    timestamptz,
    ended_at      timestamptz,
    events_sent   bigint not null default 0,
    first_place   bigint not null,
    last_place    bigint not null,
    place         bigint,
    detail        text
);
comment on table capsule.replay_jobs is 'Replays into Kafka topics replay.{name}, asked for by POST /v1/replays.';
comment on column capsule.replay_jobs.id is 'The job; also the header capsule-replay-id of what it sends.';
comment on column capsule.replay_jobs.name is 'It sends into topic replay.{name}.';
comment on column capsule.replay_jobs.topics is 'Of these topics, separated by commas; empty: of all.';
comment on column capsule.replay_jobs.node is 'Only of this node; null: of all.';
comment on column capsule.replay_jobs.node_prefix is 'Only of nodes whose id begins so; null: of all.';
comment on column capsule.replay_jobs.ordering is 'The order, and what from_us and to_us mean: event_time, recorded (both microseconds since the epoch) or offset.';
comment on column capsule.replay_jobs.from_us is 'The range''s begin in that order.';
comment on column capsule.replay_jobs.to_us is 'The range''s end, exclusive.';
comment on column capsule.replay_jobs.partition is 'The source partition, where the order is offset.';
comment on column capsule.replay_jobs.known_by is 'Only what was recorded by then.';
comment on column capsule.replay_jobs.rate is 'Events a second at most; 0: as fast as possible.';
comment on column capsule.replay_jobs.partitions is 'Of the target topic, when the job makes it.';
comment on column capsule.replay_jobs.state is 'running (or waiting to be), paused, cancelled, done, failed.';
comment on column capsule.replay_jobs.owner is 'The instance that runs it.';
comment on column capsule.replay_jobs.heartbeat_at is 'When that instance last said so; after half a minute without, any other may take the job.';
comment on column capsule.replay_jobs.created_at is 'When it was asked for.';
comment on column capsule.replay_jobs.started_at is 'When it first ran.';
comment on column capsule.replay_jobs.ended_at is 'When it was done, failed or cancelled.';
comment on column capsule.replay_jobs.events_sent is 'Events committed to Kafka, as last told.';
comment on column capsule.replay_jobs.first_place is 'Where the range''s first event lies in the order.';
comment on column capsule.replay_jobs.last_place is 'Where its last event lies.';
comment on column capsule.replay_jobs.place is 'Where the last event sent lies; null: none yet.';
comment on column capsule.replay_jobs.detail is 'What it waits for, or why it failed.';

create index replay_jobs_running on capsule.replay_jobs (created_at) where state = 'running';
create index replay_jobs_created on capsule.replay_jobs (created_at desc);
comment on index capsule.replay_jobs_running is 'For whoever looks for a job to run.';
comment on index capsule.replay_jobs_created is 'For GET /v1/replays.';

grant select on capsule.replay_jobs to capsule_writer, capsule_auditor;
grant insert, update on capsule.replay_jobs to capsule_writer;
