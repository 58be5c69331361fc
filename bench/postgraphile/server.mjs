// PostGraphile 5 as its makers would run it for reads: Amber preset, production mode, no watching, no transaction per
// request (no pgSettings), prepared statements and plan caches as they come, answers stringified by Grafserv.
// Reads PORT, POOL_SIZE, and libpq's PGHOST, PGUSER, PGPASSWORD, PGDATABASE; prints "ready" when it serves.

import { createServer } from "node:http";
import { Pool } from "pg";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { pgSmartTags } from "postgraphile/utils";

const size = Number(process.env.POOL_SIZE);
const pool = new Pool({ max: size, min: size, idleTimeoutMillis: 0, options: "-c jit=off -c timezone=UTC" });

// One account a customer is a unique index here, not a constraint: saying so spares PostGraphile a list.
const oneAccount = pgSmartTags([{ kind: "class", match: "account", tags: { unique: "customer_id" } }]);

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [oneAccount],
  pgServices: [makePgService({ pool, schemas: ["public"] })],
  schema: { defaultBehavior: "-insert -update -delete list" },
  grafast: { explain: false },
  grafserv: { graphqlPath: "/graphql", graphiql: false, watch: false, websockets: false, outputDataAsString: true },
});

const server = createServer();
server.keepAliveTimeout = 60_000;
const serv = instance.createServ(grafserv);
await serv.addTo(server);
await serv.ready();
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("ready"));
process.on("SIGTERM", () => process.exit(0));
