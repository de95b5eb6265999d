// franz-go's schema registry client against the registry at os.Args[1]. One line a check; exit 1 at the first that fails.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/twmb/franz-go/pkg/sr"
)

var ctx = context.Background()

func record(fields string) sr.Schema {
	return sr.Schema{Schema: `{"type":"record","name":"Order","namespace":"shop","fields":[` + fields + `]}`, Type: sr.TypeAvro}
}

const id, number = `{"name":"id","type":"string"}`, `,{"name":"n","type":"int"}`

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(got, want any) {
	if !reflect.DeepEqual(got, want) {
		panic(fmt.Sprintf("got %v, want %v", got, want))
	}
}

func refused(err error, status, code int) {
	var re *sr.ResponseError
	if !errors.As(err, &re) {
		panic(fmt.Sprintf("not refused: %v", err))
	}
	equal([]int{re.StatusCode, re.ErrorCode}, []int{status, code})
}

func check(name string, run func()) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Printf("FAILED franz-go: %s: %v\n", name, r)
			os.Exit(1)
		}
	}()
	run()
	fmt.Printf("ok franz-go: %s\n", name)
}

func main() {
	c, err := sr.NewClient(sr.URLs(os.Args[1]))
	must(err)
	var first sr.SubjectSchema

	check("creates a schema, and again with the same id", func() {
		first, err = c.CreateSchema(ctx, "orders-value", record(id))
		must(err)
		again, err := c.CreateSchema(ctx, "orders-value", record(id))
		must(err)
		equal(again.ID, first.ID)
		equal(first.Version, 1)
	})
	check("reads by id, version, subject and schema", func() {
		s, err := c.SchemaByID(ctx, first.ID)
		must(err)
		equal(s.Schema, first.Schema.Schema)
		v, err := c.SchemaByVersion(ctx, "orders-value", -1)
		must(err)
		equal(v.ID, first.ID)
		found, err := c.LookupSchema(ctx, "orders-value", record(id))
		must(err)
		equal(found.Version, 1)
		text, err := c.SchemaTextByVersion(ctx, "orders-value", 1)
		must(err)
		equal(text, first.Schema.Schema)
		subjects, err := c.Subjects(ctx)
		must(err)
		equal(subjects, []string{"orders-value"})
		versions, err := c.SubjectVersions(ctx, "orders-value")
		must(err)
		equal(versions, []int{1})
		uses, err := c.SchemaUsagesByID(ctx, first.ID)
		must(err)
		equal(len(uses), 1)
		types, err := c.SupportedTypes(ctx)
		must(err)
		equal(types, []sr.SchemaType{sr.TypeAvro})
		all, err := c.AllSchemas(ctx)
		must(err)
		equal(len(all), 1)
	})
	check("checks and enforces compatibility", func() {
		r, err := c.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), "orders-value", -1, record(id+number))
		must(err)
		equal(r.Is, false)
		if len(r.Messages) == 0 {
			panic("no messages")
		}
		_, err = c.CreateSchema(ctx, "orders-value", record(id+number))
		refused(err, 409, 409)
	})
	check("sets and reads compatibility", func() {
		for _, r := range c.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatNone}, "orders-value") {
			must(r.Err)
			equal(r.Level, sr.CompatNone)
		}
		for _, r := range c.Compatibility(ctx, "orders-value", sr.GlobalSubject) {
			must(r.Err)
			equal(r.Level, map[string]sr.CompatibilityLevel{"orders-value": sr.CompatNone, sr.GlobalSubject: sr.CompatBackward}[r.Subject])
		}
		equal(len(c.ResetCompatibility(ctx, "orders-value")), 1)
		refused(c.Compatibility(ctx, "orders-value")[0].Err, 404, 40408)
	})
	check("sets and reads the mode", func() {
		equal(c.Mode(ctx)[0].Mode, sr.ModeReadWrite)
		must(c.SetMode(ctx, sr.ModeReadOnly, "orders-value")[0].Err)
		_, err := c.CreateSchema(ctx, "orders-value", record(""))
		refused(err, 422, 42205)
		must(c.ResetMode(ctx, "orders-value")[0].Err)
	})
	check("imports a schema with its id", func() {
		must(c.SetMode(ctx, sr.ModeImport, "imported")[0].Err)
		s, err := c.RegisterSchema(ctx, "imported", sr.Schema{Schema: `"bytes"`}, 4711, 3)
		must(err)
		equal(s, 4711)
		v, err := c.SchemaByVersion(ctx, "imported", 3)
		must(err)
		equal(v.ID, 4711)
	})
	check("follows references", func() {
		_, err := c.CreateSchema(ctx, "address", sr.Schema{Schema: `{"type":"record","name":"Address","namespace":"shop","fields":[]}`})
		must(err)
		s := record(id + `,{"name":"to","type":"Address"}`)
		s.References = []sr.SchemaReference{{Name: "shop.Address", Subject: "address", Version: 1}}
		_, err = c.CreateSchema(ctx, "sent-value", s)
		must(err)
		refs, err := c.SchemaReferences(ctx, "address", 1)
		must(err)
		equal(len(refs), 1)
		equal(refs[0].Subject, "sent-value")
		_, err = c.DeleteSubject(ctx, "address", sr.SoftDelete)
		refused(err, 422, 42206)
	})
	check("deletes softly, then for ever", func() {
		must(c.DeleteSchema(ctx, "orders-value", 1, sr.SoftDelete))
		must(c.DeleteSchema(ctx, "orders-value", 1, sr.HardDelete))
		_, err := c.SubjectVersions(ctx, "orders-value")
		refused(err, 404, 40401)
	})
}
