//! One request, as a function sees it.

use std::collections::HashMap;
use std::str::FromStr;

use jiff::Timestamp;
use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::http::HeaderMap;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde_json::Value;

use super::{Problem, key};
use crate::config::ApiAuth;
use crate::domain::id::{InvalidId, TenantId};
use crate::domain::idempotency::RequestKey;
use crate::domain::principal::Principal;
use crate::telemetry::span;

/// A request that API Gateway has matched to a route.
#[derive(Debug, Clone)]
pub struct Call {
    /// The verb.
    pub method: String,
    /// The route as the template writes it, e.g. `/v1/runs/{id}`.
    pub route: String,
    /// What the caller and our logs both know the request by.
    pub request_id: String,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// When the function's time is over, as the runtime says; it may be long past where the runtime does not know it.
    pub deadline: Option<Timestamp>,
    /// What the address has before the route: the stage, or the base path of a custom domain.
    base: String,
    parameters: HashMap<String, String>,
    /// As it came: a name may be there twice.
    query: Vec<(String, String)>,
    headers: HeaderMap,
    identity: Identity,
}

/// What the authorizer and the gateway say of the caller.
#[derive(Debug, Clone, Default)]
struct Identity {
    tenant: Option<String>,
    name: Option<String>,
    /// What an authorizer says that the caller may do, parted by spaces or commas; none where IAM says it.
    scopes: Option<String>,
    account: Option<String>,
    /// Whether the caller is the account that owns the API, and no authorizer says that it stands for a tenant.
    is_owner: bool,
}

impl From<Request> for Call {
    fn from(request: Request) -> Self {
        let (mut route, mut identity, mut request_id) = (String::new(), Identity::default(), None);
        if let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() {
            let claim = |name: &str| context.authorizer.fields.get(name).and_then(Value::as_str).map(str::to_owned);
            route = context.resource_path.clone().unwrap_or_default();
            request_id.clone_from(&context.request_id);
            identity = Identity {
                tenant: claim("tenant"),
                scopes: claim("tenant").map(|_| claim("scopes").unwrap_or_default()),
                name: claim("principalId").or_else(|| context.identity.user_arn.clone()),
                account: context.identity.account_id.clone(),
                is_owner: claim("tenant").is_none() && context.account_id.is_some() && context.identity.account_id == context.account_id,
            };
        }
        let parameters = pairs(&request.path_parameters()).into_iter().collect();
        let base = base_path(&request, &route, &parameters).unwrap_or_default();
        Self {
            method: request.method().to_string(),
            route,
            request_id: request_id.or_else(|| Some(request.lambda_context_ref()?.request_id.clone())).unwrap_or_default(),
            base,
            parameters,
            query: pairs(&request.query_string_parameters()),
            deadline: request.lambda_context_ref().and_then(|context| Timestamp::try_from(context.deadline()).ok()),
            headers: request.headers().clone(),
            identity,
            body: match request.into_body() {
                Body::Text(text) => text.into_bytes(),
                Body::Binary(bytes) => bytes,
                _ => Vec::new(),
            },
        }
    }
}

impl Call {
    /// The address of `path` of this API, as the caller reaches it.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Who calls. With [`ApiAuth::Iam`] a request that nobody has authorized is refused, even if the gateway let it through.
    ///
    /// # Errors
    /// 403 without an identity.
    pub fn principal(&self, auth: ApiAuth) -> Result<Principal, Problem> {
        let unknown = || Problem::forbidden("the request carries no identity; sign it with AWS Signature Version 4");
        let (tenant, name) = match auth {
            ApiAuth::None => ("local", "anonymous".to_owned()),
            ApiAuth::Iam => {
                // An authorizer of the operator's own may name the tenant; otherwise it is the calling account.
                let tenant = self.identity.tenant.as_deref().or(self.identity.account.as_deref()).ok_or_else(unknown)?;
                (tenant, self.identity.name.clone().ok_or_else(unknown)?)
            }
        };
        let tenant = TenantId::from_str(tenant).map_err(|_| unknown())?;
        span::is_of_tenant(&tenant);
        Ok(Principal { tenant, name })
    }

    /// Refuses callers who may not act on all tenants at once.
    ///
    /// # Errors
    /// 403 for everybody but the account that owns the API.
    pub fn only_operator(&self, auth: ApiAuth) -> Result<(), Problem> {
        match auth {
            ApiAuth::Iam if !self.identity.is_owner => {
                Err(Problem::forbidden("this acts on all tenants; only the account that owns the API may"))
            }
            ApiAuth::Iam | ApiAuth::None => Ok(()),
        }
    }

    /// Refuses callers to whom the operator's own authorizer has not given `scope`. Callers who sign are IAM's to judge, route by route.
    ///
    /// # Errors
    /// 403 without it.
    pub fn needs_scope(&self, auth: ApiAuth, scope: &'static str) -> Result<(), Problem> {
        let has = |scopes: &String| scopes.split([' ', ',']).any(|given| given == scope);
        match auth {
            ApiAuth::Iam if !self.identity.scopes.as_ref().is_none_or(has) => {
                Err(Problem::forbidden("the caller's scopes do not allow this")
                    .about("scopes")
                    .saying(format!("this wants the scope `{scope}`")))
            }
            ApiAuth::Iam | ApiAuth::None => Ok(()),
        }
    }

    /// The id in the path.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn id<T: FromStr<Err = InvalidId>>(&self, parameter: &'static str) -> Result<T, Problem> {
        let text = self.parameters.get(parameter).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|error| Problem::invalid(parameter, error))
    }

    /// A header, if it is there and a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A name in the path, as it was written there; empty if the route has none.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The query, to be taken apart.
    #[must_use]
    pub fn query(&self) -> super::Query<'_> {
        super::Query::new(&self.query)
    }

    /// The key that the caller gave to this request, so that it can be sent again without a second effect.
    ///
    /// # Errors
    /// 400 naming the header when it is none, or the body when that is no JSON.
    pub fn request_key(&self) -> Result<Option<RequestKey>, Problem> {
        let given = self.headers.get(key::IDEMPOTENCY_KEY);
        given.map(|given| key::read(given.as_bytes(), &format!("{} {}", self.method, self.route), &self.body)).transpose()
    }

    /// The key that a name in the body stands for; `kind` says of what it is the name.
    ///
    /// # Errors
    /// 400 when the body is no JSON.
    pub fn key_of(&self, kind: &str, name: &str) -> Result<RequestKey, Problem> {
        key::of(kind, name.as_bytes(), &self.body)
    }

    /// No such route. API Gateway lets none through that the template does not name; this is for the two to disagree safely.
    #[must_use]
    pub fn unknown_route(&self) -> Problem {
        Problem::not_found("route", "there is no such route; GET /openapi.json lists them")
    }
}

fn pairs(map: &QueryMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What stands before the route in the address that the caller used. API Gateway tells it only where it has a domain.
fn base_path(request: &Request, route: &str, parameters: &HashMap<String, String>) -> Option<String> {
    let RequestContext::ApiGatewayV1(context) = request.request_context_ref()? else { return None };
    context.domain_name.as_ref()?;
    let route = parameters.iter().fold(route.to_owned(), |route, (name, value)| route.replace(&format!("{{{name}}}"), value));
    context.path.as_ref()?.strip_suffix(&route).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext;

    use super::*;

    #[test]
    fn an_address_has_the_stage_where_the_caller_used_one() {
        for (domain, path, address) in [
            (Some("abc.execute-api.eu-central-1.amazonaws.com"), "/live/v1/agent", "/live/v1/runs/x"),
            (Some("api.example.com"), "/v1/agent", "/v1/runs/x"),
            (Some("api.example.com"), "/agents/v1/agent", "/agents/v1/runs/x"),
            (None, "/live/v1/agent", "/v1/runs/x"),
        ] {
            let mut context = ApiGatewayProxyRequestContext::default();
            context.resource_path = Some("/v1/agent".into());
            context.path = Some(path.into());
            context.domain_name = domain.map(str::to_owned);
            let mut request = Request::new(Body::Empty);
            request.extensions_mut().insert(RequestContext::ApiGatewayV1(context));
            assert_eq!(Call::from(request).address("/v1/runs/x"), address);
        }
    }
}
