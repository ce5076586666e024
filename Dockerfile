# One image, three entry points: entrypoint_migrations.sh, entrypoint_http_api.sh, entrypoint_celery.sh
FROM python:3.13-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /app
COPY pyproject.toml uv.lock ./
# Lean by default: docker build --build-arg EXTRAS="--extra redis --extra sentry --extra tracing"
ARG EXTRAS=
# hadolint ignore=SC2086
RUN uv sync --locked --no-dev --no-install-project $EXTRAS
COPY entrypoint_*.sh ./
COPY src src
# What Swagger UI, ReDoc and the admin never load is a good part of what they ship.
RUN SECRET_KEY=build .venv/bin/python src/manage.py collectstatic --noinput -v 0 \
        -i '*.map' -i redoc-old -i '*-es-bundle*' -i jedison \
    && .venv/bin/python -m compileall -q src

FROM python:3.13-slim
ENV PATH="/app:/app/.venv/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent payouts
WORKDIR /app
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8080
CMD ["entrypoint_http_api.sh"]
