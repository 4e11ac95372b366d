// The schema of HAR 1.2 as a judge of HAR files: "node har_schema.mjs HAR" prints what is wrong.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';
import * as schemas from 'har-schema';

const require = createRequire(import.meta.url);
const ajv = new Ajv({ allErrors: true, strict: false });
addFormats(ajv);
ajv.addMetaSchema(require('ajv/dist/refs/json-schema-draft-06.json'));
Object.values(schemas.default).forEach((schema) => ajv.addSchema(schema));
const validate = ajv.getSchema('har.json');
validate(JSON.parse(readFileSync(process.argv[2])));
console.log(JSON.stringify((validate.errors ?? []).map((e) => `${e.instancePath} ${e.message}`)));
