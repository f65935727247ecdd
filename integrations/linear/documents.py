"""The GraphQL documents that we send. A test validates each against Linear's published schema.

https://github.com/linear/linear/blob/master/packages/sdk/src/schema.graphql
"""

VIEWER = "query Viewer { viewer { id name displayName app } }"

USER = "query User($id: String!) { user(id: $id) { id name displayName active app guest } }"

USERS = """query Users($login: String!) {
  users(first: 2, filter: {or: [{displayName: {eqIgnoreCase: $login}}, {email: {eqIgnoreCase: $login}}]}) {
    nodes { id name displayName }
  }
}"""

SAY_IN_SESSION = """mutation SayInSession($input: AgentActivityCreateInput!) {
  agentActivityCreate(input: $input) { success agentActivity { id } }
}"""

ACTIVITY = "query Activity($id: String!) { agentActivity(id: $id) { id } }"

UPDATE_SESSION = """mutation UpdateSession($id: String!, $input: AgentSessionUpdateInput!) {
  agentSessionUpdate(id: $id, input: $input) { success agentSession { id url } }
}"""

COMMENT = "query Comment($id: String!) { comment(id: $id) { id url } }"

CREATE_COMMENT = """mutation CreateComment($input: CommentCreateInput!) {
  commentCreate(input: $input) { success comment { id url } }
}"""

UPDATE_COMMENT = """mutation UpdateComment($id: String!, $input: CommentUpdateInput!) {
  commentUpdate(id: $id, input: $input) { success comment { id url } }
}"""

REACT = "mutation React($input: ReactionCreateInput!) { reactionCreate(input: $input) { success reaction { id } } }"

ISSUE = """query Issue($id: String!) {
  issue(id: $id) {
    id state { type } delegate { id } team { states(filter: {type: {eq: "started"}}) { nodes { id position } } }
  }
}"""

UPDATE_ISSUE = """mutation UpdateIssue($id: String!, $input: IssueUpdateInput!) {
  issueUpdate(id: $id, input: $input) { success issue { id } }
}"""

SUGGESTIONS = """query Suggestions($issue: String!, $session: String, $candidates: [CandidateRepository!]!) {
  issueRepositorySuggestions(issueId: $issue, agentSessionId: $session, candidateRepositories: $candidates) {
    suggestions { repositoryFullName confidence }
  }
}"""

SAID = """query Said($id: String!) {
  issue(id: $id) { comments(first: 100) { nodes { id body createdAt url user { id name } } } }
}"""

WEBHOOKS = "query Webhooks { webhooks(first: 100) { nodes { url } } }"

CREATE_WEBHOOK = """mutation CreateWebhook($input: WebhookCreateInput!) {
  webhookCreate(input: $input) { success webhook { id } }
}"""

_ISSUE = "issue { id identifier title description url team { key } }"
_SESSION = f"id url createdAt creator {{ id name }} comment {{ id body user {{ id }} }} {_ISSUE}"

SESSIONS = f"""query Sessions {{
  agentSessions(first: 50) {{ nodes {{ sourceComment {{ id body user {{ id }} }} {_SESSION} }} }}
}}"""

PROMPTS = f"""query Prompts($since: DateTimeOrDuration!) {{
  agentActivities(first: 50, filter: {{type: {{eq: "prompt"}}, createdAt: {{gte: $since}}}}) {{
    nodes {{
      id signal createdAt user {{ id name }} sourceComment {{ id }}
      content {{ ... on AgentActivityPromptContent {{ body }} }}
      agentSession {{ {_SESSION} }}
    }}
  }}
}}"""

COMMENTS = f"""query Comments($since: DateTimeOrDuration!, $handle: String!) {{
  comments(first: 50, filter: {{createdAt: {{gte: $since}}, body: {{containsIgnoreCase: $handle}}}}) {{
    nodes {{ id body url createdAt editedAt parentId user {{ id name app }} {_ISSUE} }}
  }}
}}"""
