-- Who read what: CAPSULE's HTTP reads of history, written in batches from its log of reads. Rows are only ever added.
set local role capsule_owner;

create table capsule.read_begins (
    instance  uuid not null,
    read_id   bigint not null,
    read_at   timestamptz not null,
    who       text collate "C",
    peer      text collate "C" not null,
    method    text collate "C" not null,
    route     text collate "C" not null,
    question  text collate "C" not null,
    status    int not null,
    finished  boolean not null,
    row_count bigint not null,
    bytes     bigint not null,
    digest    text,
    primary key (instance, read_id)
);
create index read_begins_time on capsule.read_begins (read_at, instance, read_id);
comment on table capsule.read_begins is 'Reads of history as they were recorded before the first byte of their answers. Ask capsule.reads.';
comment on column capsule.read_begins.instance is 'The CAPSULE that answered, see capsule.instances.';
comment on column capsule.read_begins.read_id is 'Ascending within an instance: microseconds since the epoch, made distinct.';
comment on column capsule.read_begins.read_at is 'When.';
comment on column capsule.read_begins.who is 'The token''s name; null: the server asks for no tokens.';
comment on column capsule.read_begins.peer is 'The client''s address as the server saw it.';
comment on column capsule.read_begins.method is 'The request''s method.';
comment on column capsule.read_begins.route is 'The route that answered.';
comment on column capsule.read_begins.question is 'Path and query as they were sent.';
comment on column capsule.read_begins.status is 'The HTTP status that was sent.';
comment on column capsule.read_begins.finished is 'The whole answer was known then; false: a stream, whose outcome is in capsule.read_ends.';
comment on column capsule.read_begins.row_count is 'Rows in the answer; 0 for a stream.';
comment on column capsule.read_begins.bytes is 'Bytes of the answer, before any content coding; 0 for a stream.';
comment on column capsule.read_begins.digest is 'sha256: of those bytes.';
comment on index capsule.read_begins_time is 'Reads of a time, in order.';

create table capsule.read_ends (
    instance  uuid not null,
    read_id   bigint not null,
    end_id    bigint not null,
    ended_at  timestamptz not null,
    complete  boolean not null,
    row_count bigint not null,
    bytes     bigint not null,
    digest    text,
    primary key (instance, read_id)
);
create index read_ends_order on capsule.read_ends (instance, end_id);
comment on table capsule.read_ends is 'How streams ended.';
comment on column capsule.read_ends.instance is 'The CAPSULE that answered.';
comment on column capsule.read_ends.read_id is 'The read, see capsule.read_begins.';
comment on column capsule.read_ends.end_id is 'Its own place in the instance''s order.';
comment on column capsule.read_ends.ended_at is 'When the last byte was handed over, or the client was gone.';
comment on column capsule.read_ends.complete is 'The stream went to its end; false: it was cut.';
comment on column capsule.read_ends.row_count is 'Rows made for it; when it was cut, the client may have seen fewer.';
comment on column capsule.read_ends.bytes is 'Bytes handed over.';
comment on column capsule.read_ends.digest is 'As in the stream''s last line; null when it was cut.';
comment on index capsule.read_ends_order is 'How far an instance''s log was written here.';

create view capsule.reads as
    select b.instance, b.read_id, b.read_at, b.who, b.peer, b.method, b.route, b.question, b.status,
           case when b.finished then b.row_count else e.row_count end as row_count,
           case when b.finished then b.bytes else e.bytes end as bytes,
           case when b.finished then b.digest else e.digest end as digest,
           case when b.finished then b.read_at else e.ended_at end as ended_at,
           case when b.finished then true else e.complete end as complete
    from capsule.read_begins b left join capsule.read_ends e using (instance, read_id);
comment on view capsule.reads is 'Every read of history over HTTP: who, what, when, rows and digest. A row without ended_at is a stream that is still running, or whose server died.';
comment on column capsule.reads.instance is 'The CAPSULE that answered.';
comment on column capsule.reads.read_id is 'Ascending within an instance.';
comment on column capsule.reads.read_at is 'When it was recorded: before the first byte of the answer.';
comment on column capsule.reads.who is 'The token''s name; null: the server asks for no tokens.';
comment on column capsule.reads.peer is 'The client''s address.';
comment on column capsule.reads.method is 'The request''s method.';
comment on column capsule.reads.route is 'The route that answered.';
comment on column capsule.reads.question is 'Path and query as they were sent.';
comment on column capsule.reads.status is 'The HTTP status.';
comment on column capsule.reads.row_count is 'Rows in the answer.';
comment on column capsule.reads.bytes is 'Its bytes, before any content coding.';
comment on column capsule.reads.digest is 'sha256: of the answer''s bytes; of a stream, what its last line says.';
comment on column capsule.reads.ended_at is 'When the answer was whole.';
comment on column capsule.reads.complete is 'False: a stream that was cut. Null: not known.';

grant select, insert on capsule.read_begins, capsule.read_ends to capsule_writer;
grant select on capsule.read_begins, capsule.read_ends, capsule.reads to capsule_auditor;
