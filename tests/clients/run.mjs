// usage: node run.mjs CLIENT STEP PARAMS-AS-JSON
//
// Connects with one client, does one step with it, leaves, and prints the step's result as a line
// of JSON. There is no process.exit: a client that keeps its socket open makes the script hang,
// and that is a failure. An exception ends it with the stack and code 1.
import * as common from './steps.mjs';

const [client, step, json] = process.argv.slice(2);
const params = JSON.parse(json);
const { connect, steps } = await import(`./${client}.mjs`);
const browser = await connect(params);
const result = await { ...common, ...steps }[step](browser, params);
await browser[params.leave ?? 'disconnect']();
console.log(JSON.stringify(result));
