import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Sends a webhook through Keybearer as its base URL: java Gateway.java */
class Gateway {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newBuilder()
                .proxy(HttpClient.Builder.NO_PROXY)
                .version(HttpClient.Version.HTTP_1_1) // or the client would ask for an upgrade to HTTP/2 with every request
                .connectTimeout(Duration.ofSeconds(10))
                .build();

        var request = HttpRequest.newBuilder(URI.create(System.getenv("KEYBEARER_URL") + "/hook"))
                .header("Authorization", "Bearer " + System.getenv("KEYBEARER_TOKEN"))
                .header("Keybearer-Credential", System.getenv("KEYBEARER_CREDENTIAL"))
                .header("Keybearer-Destination", "https://" + System.getenv("WEBHOOK_HOST"))
                .header("Content-Type", "application/json")
                .timeout(Duration.ofSeconds(30))
                .POST(HttpRequest.BodyPublishers.ofString("{\"text\": \"deployed\"}"))
                .build();
        var answer = client.send(request, HttpResponse.BodyHandlers.ofString());

        if (answer.headers().firstValue("Proxy-Status").orElse("").startsWith("keybearer; error=")) {
            System.err.println("keybearer: " + answer.body()); // a problem in JSON, with code and hint
            System.exit(1);
        }
        if (answer.statusCode() / 100 != 2) {
            System.err.println("the destination answered " + answer.statusCode());
            System.exit(1);
        }
        System.out.println(answer.body());
    }
}
