"""Start ministack with what its CloudFormation lacks put in: `python3.13 stand_in.py`, inside the container.

Each part says what AWS does. They reach into ministack, so they fit the version in requirements.txt and no other.
"""

import json
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core import router
from ministack.services.cloudformation import language_extensions, provisioners
from samtranslator.intrinsics.resolver import IntrinsicsResolver

Properties = dict[str, Any]
api = provisioners._apigw_v2


def literal_parameters(apply: Callable[..., Any]) -> Callable[..., Any]:
    """AWS::LanguageExtensions puts the parameters' values in place of their names, for the transforms after it."""

    def applied(template: Properties, parameters: Properties) -> Any:
        template = apply(template, parameters)
        values = {
            name: value.split(",") if template["Parameters"][name]["Type"] == "CommaDelimitedList" else value
            for name, value in parameters.items()
        }
        resources = IntrinsicsResolver(values).resolve_parameter_refs(template["Resources"])
        return {**template, "Resources": resources}

    return applied


def with_numbers(create: Callable[..., Any]) -> Callable[..., Any]:
    """A number stays one on its way through a parameter: the poller of queues compares it with its own."""

    def created(logical_id: str, properties: Properties, stack: str) -> Any:
        scaling = {"MaximumConcurrency": int(properties["ScalingConfig"]["MaximumConcurrency"])}
        numbers = {"BatchSize": int(properties["BatchSize"]), "ScalingConfig": scaling}
        return create(logical_id, {**properties, **numbers}, stack)

    return created


def with_routes(create: Callable[..., Any]) -> Callable[..., Any]:
    """An HTTP API's `Body`, an OpenAPI document, has its routes, integrations and authorizers."""

    def created(logical_id: str, properties: Properties, stack: str) -> Any:
        api_id, attributes = create(logical_id, properties, stack)
        import_body(api_id, properties["Body"])
        return api_id, attributes

    return created


def with_new_routes(update: Callable[..., Any]) -> Callable[..., Any]:
    def updated(api_id: str, old: Properties, new: Properties, *rest: Any, **options: Any) -> Any:
        result = update(api_id, old, new, *rest, **options)
        import_body(api_id, new["Body"])
        return result

    return updated


def import_body(api_id: str, body: Properties) -> None:
    """Replace an API's routes by those of an OpenAPI document with API Gateway's extensions."""
    for part in (api._routes, api._integrations, api._authorizers):
        part.setdefault(api_id, {}).clear()
    schemes = body.get("components", {}).get("securitySchemes", {})
    for path, methods in body["paths"].items():
        for method, operation in methods.items():
            integration = operation["x-amazon-apigateway-integration"]
            _, integrated = provisioners._apigw_v2_integration_create(
                "Integration",
                {
                    "ApiId": api_id,
                    "IntegrationUri": integration["uri"],
                    "PayloadFormatVersion": integration["payloadFormatVersion"],
                },
                "",
            )
            any_method = method == "x-amazon-apigateway-any-method"
            route = {
                "ApiId": api_id,
                "RouteKey": path
                if path == "$default"
                else f"{'ANY' if any_method else method.upper()} {path}",
                "Target": f"integrations/{integrated['IntegrationId']}",
                **security(api_id, schemes, operation.get("security", [])),
            }
            provisioners._apigw_v2_route_create("Route", route, "")


def security(api_id: str, schemes: Properties, required: list[Properties]) -> Properties:
    """A route's `AuthorizationType` and `AuthorizerId`, by the security scheme its operation names."""
    if not required:
        return {"AuthorizationType": "NONE"}
    (name,) = required[0]
    scheme = schemes[name]
    if scheme.get("x-amazon-apigateway-authtype") == "awsSigv4":
        return {"AuthorizationType": "AWS_IAM"}
    authorizer = scheme["x-amazon-apigateway-authorizer"]
    jwt = authorizer.get("jwtConfiguration", {})
    made, _ = provisioners._apigw_v2_authorizer_create(
        name,
        {
            "ApiId": api_id,
            "AuthorizerType": authorizer["type"].upper(),
            "IdentitySource": [s.strip() for s in authorizer.get("identitySource", "").split(",") if s],
            "JwtConfiguration": {"Issuer": jwt.get("issuer"), "Audience": jwt.get("audience")},
            "AuthorizerUri": authorizer.get("authorizerUri", ""),
            "AuthorizerPayloadFormatVersion": authorizer.get("authorizerPayloadFormatVersion", "2.0"),
            "AuthorizerResultTtlInSeconds": authorizer.get("authorizerResultTtlInSeconds", 0),
            "EnableSimpleResponses": authorizer.get("enableSimpleResponses", False),
        },
        "",
    )
    return {"AuthorizationType": "JWT" if jwt else "CUSTOM", "AuthorizerId": made}


def named(logical_id: str, properties: Properties, stack: str) -> Any:
    """A resource of AWS CodeDeploy, of which only the name is asked."""
    return f"{stack}-{logical_id}", {}


async def codedeploy(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
    """CodeDeploy takes a hook's verdict (PutLifecycleEventHookExecutionStatus); its deployments are not played."""
    taken = {"lifecycleEventHookExecutionId": json.loads(body)["lifecycleEventHookExecutionId"]}
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(taken).encode()


def extend() -> None:
    language_extensions.apply = literal_parameters(language_extensions.apply)
    handlers = provisioners._RESOURCE_HANDLERS
    mapping, http_api = handlers["AWS::Lambda::EventSourceMapping"], handlers["AWS::ApiGatewayV2::Api"]
    mapping["create"] = with_numbers(mapping["create"])
    http_api["create"] = with_routes(http_api["create"])
    http_api["update"] = with_new_routes(http_api["update"])
    for kind in ("Application", "DeploymentGroup"):
        handlers[f"AWS::CodeDeploy::{kind}"] = {"create": named, "delete": lambda name, properties: None}
    app.SERVICE_HANDLERS["codedeploy"] = codedeploy
    router.SERVICE_PATTERNS["codedeploy"] = {"target_prefixes": ["CodeDeploy_20141006"]}


if __name__ == "__main__":
    extend()
    app.main()
