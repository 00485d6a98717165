# Debian, because Temporal's library comes for glibc only. The compiler and the bundler of the workflows need what other
# packages call optional: their own binaries for the platform.
FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY bin bin
COPY src src
COPY migrations migrations
COPY reports reports
COPY workflows workflows
RUN npm run build

# Optional here are the embedded PostgreSQL's binaries: a container gets its database by DATABASE_URL.
FROM node:20-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund && npm cache clean --force
# Temporal's library comes for five platforms, 30 MB each.
RUN keep="$(uname -m)-unknown-linux-gnu" && cd node_modules/@temporalio/core-bridge/releases \
  && test -d "$keep" && find . -mindepth 1 -maxdepth 1 ! -name "$keep" -exec rm -r {} +

FROM node:20-bookworm-slim
ENV NODE_ENV=production \
    COUNTERSIGN_HOME=/var/lib/countersign \
    COUNTERSIGN_HTTP_HOST=0.0.0.0 \
    COUNTERSIGN_HTTP_PORT=4700
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist/src dist/src
COPY --from=build /app/dist/migrations dist/migrations
COPY --from=build /app/dist/reports dist/reports
COPY --from=build /app/dist/workflows dist/workflows
COPY --from=build /app/dist/workflow-bundle.js dist/
COPY package.json LICENSE ./
COPY bin/countersign.mjs bin/prepare.mjs bin/
# The key file and the reports; a volume put here takes over the owner.
RUN install -d -o node -g node -m 0700 /var/lib/countersign
USER node
VOLUME /var/lib/countersign
EXPOSE 4700
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.COUNTERSIGN_HTTP_PORT}/readyz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "bin/countersign.mjs"]
CMD ["serve"]
