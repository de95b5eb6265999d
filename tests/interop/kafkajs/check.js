// @kafkajs/confluent-schema-registry against the registry at argv[2]. One line a check; exit 1 at the first that fails.
const assert = require('assert')
const { SchemaRegistry, SchemaType, COMPATIBILITY } = require('@kafkajs/confluent-schema-registry')

const host = process.argv[2]
const registry = new SchemaRegistry({ host })
const record = (fields) => JSON.stringify({ type: 'record', name: 'Order', namespace: 'shop', fields })
const id = { name: 'id', type: 'string' }

async function check(name, run) {
  try {
    await run()
    console.log(`ok kafkajs: ${name}`)
  } catch (e) {
    console.log(`FAILED kafkajs: ${name}: ${e.stack}`)
    process.exit(1)
  }
}

async function refuses(promise, pattern) {
  try {
    await promise
  } catch (e) {
    assert.match(String(e.message), pattern)
    return e
  }
  assert.fail('was not refused')
}

async function main() {
  let first
  await check('registers, and again with the same id', async () => {
    first = await registry.register({ type: SchemaType.AVRO, schema: record([id]) }, { subject: 'orders-value' })
    const again = await registry.register({ type: SchemaType.AVRO, schema: record([id]) }, { subject: 'orders-value' })
    assert.equal(again.id, first.id)
  })
  await check('encodes and decodes through a fresh client', async () => {
    const bytes = await registry.encode(first.id, { id: 'a-1' })
    assert.equal(bytes[0], 0)
    assert.equal(bytes.readInt32BE(1), first.id)
    const value = await new SchemaRegistry({ host }).decode(bytes)
    assert.deepEqual({ ...value }, { id: 'a-1' })
  })
  await check('finds the id by subject, version and schema', async () => {
    assert.equal(await registry.getRegistryId('orders-value', 1), first.id)
    assert.equal(await registry.getLatestSchemaId('orders-value'), first.id)
    assert.equal(await registry.getRegistryIdBySchema('orders-value', { type: SchemaType.AVRO, schema: record([id]) }), first.id)
  })
  await check('refuses another compatibility than the one that is set', async () => {
    await refuses(
      registry.register({ type: SchemaType.AVRO, schema: record([id]) }, { subject: 'orders-value', compatibility: COMPATIBILITY.NONE }),
      /Compatibility does not match the configuration/)
  })
  await check('refuses an incompatible schema with 409', async () => {
    const e = await refuses(
      registry.register({ type: SchemaType.AVRO, schema: record([id, { name: 'n', type: 'int' }]) }, { subject: 'orders-value' }),
      /incompatible with an earlier schema/)
    assert.equal(e.status, 409)
  })
  await check('registers references and decodes with them', async () => {
    await registry.register({ type: SchemaType.AVRO, schema: JSON.stringify({ type: 'record', name: 'Address', namespace: 'shop', fields: [{ name: 'city', type: 'string' }] }) },
      { subject: 'address' })
    const schema = record([id, { name: 'to', type: 'shop.Address' }])
    const { id: withReference } = await registry.register(
      { type: SchemaType.AVRO, schema, references: [{ name: 'shop.Address', subject: 'address', version: 1 }] }, { subject: 'sent-value' })
    const value = await new SchemaRegistry({ host }).decode(await registry.encode(withReference, { id: 'a', to: { city: 'Berne' } }))
    assert.equal(value.to.city, 'Berne')
  })
  await check('says that an unknown id is unknown', async () => {
    const e = await refuses(new SchemaRegistry({ host, retry: { retries: 0 } }).getSchema(99999), /not found/i)
    assert.equal(e.status, 404)
  })
}

main()
