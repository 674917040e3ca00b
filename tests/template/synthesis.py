"""What CloudFormation makes of template.yaml for given parameters: transforms run, conditions and functions decided.

The same translator that AWS runs does the serverless transform. Names that AWS would invent are the logical ids.
"""

import json
import os
import re
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from samtranslator.intrinsics.resolver import IntrinsicsResolver
from samtranslator.translator.transform import transform

from tests.template.source import template

REGION, ACCOUNT = "eu-central-1", "111122223333"
PSEUDO = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::StackName": "tensorlet",
    "AWS::URLSuffix": "amazonaws.com",
}
ABSENT = object()  # Ref AWS::NoValue: the property is left out

# Type -> its ARN, by its name.
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{name}}",
    "AWS::Lambda::Version": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:PredictFunction:{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{name}}:*",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{{name}}",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{{name}}",
}
# Type -> the property that names it.
NAMES = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
ARN_BY_REF = {
    "AWS::Lambda::Version",
    "AWS::StepFunctions::StateMachine",
    "AWS::SecretsManager::Secret",
}  # `Ref` gives an ARN, not a name


@cache
def synthesize(**overrides: str) -> dict[str, Any]:
    """The stack's resources by logical id, `{"Type", "Properties", ...}`, for parameters as text; not to be changed."""
    source = json.loads(json.dumps(template()))
    parameters = {
        name: str(entry["Default"]) for name, entry in source["Parameters"].items() if "Default" in entry
    } | overrides
    values: dict[str, Any] = {
        name: value.split(",") if source["Parameters"][name]["Type"] == "CommaDelimitedList" else value
        for name, value in parameters.items()
    }
    # AWS::LanguageExtensions: values in place of parameters. Then AWS::Serverless, of a packaged template.
    source["Resources"] = IntrinsicsResolver(values).resolve_parameter_refs(source["Resources"])
    for resource in source["Resources"].values():
        for location in {"CodeUri", "ContentUri", "DefinitionUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][location] = "s3://artifacts/package"
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": REGION}):
        made = transform(source, values, SimpleNamespace(load=dict))
    conditions = {
        name: _Resolver({}, {**PSEUDO, **values}, made.get("Conditions", {})).decide(name)
        for name in made.get("Conditions", {})
    }
    kept = {
        name: resource
        for name, resource in made["Resources"].items()
        if conditions.get(resource.get("Condition"), True)
    }
    resolver = _Resolver(kept, {**PSEUDO, **values}, made.get("Conditions", {}))
    return {name: resolver.value(resource) for name, resource in kept.items()}


class _Resolver:
    """CloudFormation's functions, as far as the template uses them."""

    def __init__(self, resources: dict[str, Any], values: dict[str, Any], conditions: dict[str, Any]):
        self._resources = resources
        self._values = values
        self._conditions = conditions

    def decide(self, condition: str) -> bool:
        return bool(self.value(self._conditions[condition]))

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if function := self._functions().get(name):
                return function(argument)
        found = {key: self.value(value) for key, value in node.items()}
        return {key: value for key, value in found.items() if value is not ABSENT}

    def _functions(self) -> dict[str, Any]:
        return {
            "Ref": self._ref,
            "Condition": self.decide,
            "Fn::GetAtt": self._attribute,
            "Fn::Sub": self._substitute,
            "Fn::If": lambda arguments: self.value(arguments[1 if self.decide(arguments[0]) else 2]),
            "Fn::Join": lambda arguments: arguments[0].join(map(str, self.value(arguments[1]))),
            "Fn::Select": lambda arguments: self.value(arguments[1])[int(arguments[0])],
            "Fn::Split": lambda arguments: str(self.value(arguments[1])).split(arguments[0]),
            "Fn::Equals": lambda arguments: self.value(arguments[0]) == self.value(arguments[1]),
            "Fn::Not": lambda arguments: not self.value(arguments[0]),
            "Fn::And": lambda arguments: all(map(self.value, arguments)),
            "Fn::Or": lambda arguments: any(map(self.value, arguments)),
            "Fn::FindInMap": self._find,
        }

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return ABSENT
        if name in self._values:
            return self._values[name]
        return (
            self._attribute([name, "Arn"])
            if self._resources[name]["Type"] in ARN_BY_REF
            else self._name(name)
        )

    def _name(self, logical_id: str) -> str:
        resource = self._resources[logical_id]
        return str(self.value(resource.get("Properties", {}).get(NAMES.get(resource["Type"]), logical_id)))

    def _attribute(self, argument: Any) -> str:
        logical_id, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        pattern = ARNS.get(self._resources[logical_id]["Type"])
        if attribute == "Arn" and pattern:
            return pattern.format(name=self._name(logical_id))
        return self._name(logical_id) if attribute.endswith("Name") else f"{logical_id}.{attribute}"

    def _substitute(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name in own:
                return str(self.value(own[name]))
            return str(self._attribute(name) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^!}]+)\}", replace, text)

    def _find(self, argument: list[Any]) -> Any:
        name, first, second = self.value(argument)
        return template()["Mappings"][name][first][second]
