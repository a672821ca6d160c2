# Rows of a made-up contact history: jq -n -c -f sample.jq --arg kind KIND --argjson rows N
# The same rows every time, and noise enough in them that they do not deflate to nothing.

def next: . * 48271 % 2147483647;
def pick($choices): $choices[. % ($choices | length)];
def id: "0000" + ([limit(12; next | recurse(next))] | map(("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" / "")[. % 36]) | add);
def instant($seconds): 1717200000 + $seconds | strftime("%Y-%m-%d %H:%M:%S.000");

def words: ["order", "invoice", "please", "Tuesday", "router", "refund", "thank you", "still", "waiting", "address",
  "contract", "the app", "password", "delivery", "Grüße", "tomorrow", "cancel", "number", "again", "agent"];
def sentence($n): [limit($n; next | recurse(next)) | pick(words)] | join(" ");

def interaction($row; $entity; $media):
  ($row * 7919 + 17 | next | next) as $seed
  | ($seed % 1500 + 1 | next | id) as $contact
  | {IXNID: ($seed | id), status: 3, entitytypeid: $entity, mediatypeid: $media, typeid: "Inbound", subtypeid: "InboundNew",
     ownerid: (2900 + $seed % 60), ContactId: $contact, startdate: instant($row * 211), modifieddate: instant($row * 211 + $seed % 900 + 60),
     enddate: instant($row * 211 + $seed % 900 + 60), threadid: ($seed | id), timeshift: 120, subject: ($seed | sentence(3)), tenantid: 101};

def row:
  if $kind == "Chat" then
    interaction(.; 2; "chat") + (. * 31 + 5 | next | {structuredtext: (
      "<chatTranscript startAt=\"\(instant(.))\"><message userId=\"1\"><msgText>" + sentence(9) + "</msgText></message>"
      + "<message userId=\"2\"><msgText>" + (next | sentence(7)) + "</msgText></message></chatTranscript>")})
  elif $kind == "EmailIn" then
    interaction(. + 5000; 0; "email") + (. * 37 + 3 | next | {text: sentence(40)})
  elif $kind == "Contact" then
    {ContactId: (. | next | id), tenantid: 101, createddate: instant(. * 977), modifieddate: instant(. * 1013)}
  else
    (. | next | id) as $contact | instant(. * 1013) as $modified
    | {ContactId: $contact, attrname: "FirstName", attrvalue: pick(["Ana", "Björn", "Chen", "Divya", "Emeka", "Fatima"]), isprimary: 1, modifieddate: $modified},
      {ContactId: $contact, attrname: "EmailAddress", attrvalue: "customer\(.)@example.com", isprimary: 1, modifieddate: $modified}
  end;

range(1; $rows + 1) | row
