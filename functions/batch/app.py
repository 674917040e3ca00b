"""SQS messages with S3 events in, predictions files out; a message that could not be processed comes again.

Settings are read during the cold start; models are loaded with the first file that needs them.
"""

import os
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from tensorlet.batch import Worker, metrics
from tensorlet.settings import Settings
from tensorlet.telemetry import log_cold_start, logger

worker = Worker.from_settings(Settings.from_environ(os.environ))
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> Any:
    """Partial batch response: `{"batchItemFailures": [...]}` with the messages to deliver again."""
    invocation_s = context.get_remaining_time_in_millis() / 1e3 if context else None

    def process(record: Any) -> None:
        try:
            for report in worker.process(record.body, invocation_s):
                metrics.count(report)
        except Exception:
            logger().exception("message failed", extra={"message_id": record.message_id})
            raise

    try:
        return process_partial_response(event, process, processor, context)
    finally:
        metrics.flush()
